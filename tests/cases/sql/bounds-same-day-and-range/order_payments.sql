CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND CAST(p.created_at AS DATE) = CAST(o.created_at AS DATE)
    AND p.created_at BETWEEN o.created_at AND o.created_at + INTERVAL '1 hour';

CREATE VIEW order_payments AS
SELECT
    o.order_id, o.customer_id, p.payment_id
FROM orders AS o
INNER JOIN payments AS p
    ON p.k = o.k
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

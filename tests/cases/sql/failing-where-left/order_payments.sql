CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
LEFT JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes'
WHERE CAST(o.code AS BIGINT) > 3;

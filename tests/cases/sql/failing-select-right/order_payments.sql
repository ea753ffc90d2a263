CREATE VIEW order_payments AS
SELECT
    p.payment_id, CAST(o.code AS BIGINT) AS code
FROM orders AS o
RIGHT JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    o.order_id, o.code, p.payment_id
FROM (SELECT order_id, CAST(code AS BIGINT) AS code, created_at FROM orders) AS o
INNER JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

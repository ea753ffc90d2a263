CREATE VIEW order_payments AS
SELECT
    o.order_id, CAST(o.code AS BIGINT) AS code, p.payment_id, CAST(p.note AS BIGINT) AS note
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

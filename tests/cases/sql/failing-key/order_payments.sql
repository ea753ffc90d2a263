CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON CAST(p.note AS BIGINT) = CAST(o.code AS BIGINT)
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

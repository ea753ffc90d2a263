CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM (SELECT order_id, CAST(created_at AS DATE) AS day FROM orders) AS o
FULL JOIN (SELECT payment_id, order_id, date_trunc('day', created_at) AS day FROM payments) AS p
    ON p.order_id = o.order_id
    AND p.day = o.day;

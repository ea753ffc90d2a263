CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at - o.created_at BETWEEN INTERVAL '-5 minutes' AND INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND date_trunc('hour', p.created_at) = date_trunc('hour', o.created_at);

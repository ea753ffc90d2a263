CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND EXTRACT(HOUR FROM p.created_at) = EXTRACT(HOUR FROM o.created_at);

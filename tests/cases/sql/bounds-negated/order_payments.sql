CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND NOT (p.created_at < o.created_at) AND NOT (p.created_at > o.created_at + (INTERVAL '4 minutes' + INTERVAL '6 minutes'));

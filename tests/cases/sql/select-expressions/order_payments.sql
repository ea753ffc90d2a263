CREATE VIEW order_payments AS
SELECT
    upper(o.order_id) AS order_id, COALESCE(o.customer_id, 'nobody') AS customer_id,
    o.amount AS order_amount, p.payment_id, p.amount - o.amount AS payment_amount,
    CASE WHEN p.amount > o.amount THEN 'over' WHEN p.amount < o.amount THEN 'under' END AS kind
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    o.customer_id AS order_id, o.amount AS order_amount, p.payment_id, p.amount AS payment_amount
FROM (SELECT customer_id, amount, created_at FROM orders) AS o
FULL JOIN payments AS p
    ON p.order_id = o.customer_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

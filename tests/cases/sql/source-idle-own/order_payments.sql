CREATE VIEW order_payments AS
SELECT
    o.order_id, o.customer_id, o.amount AS order_amount, o.created_at AS order_at,
    p.payment_id, p.order_id AS paid_order_id, p.amount AS payment_amount, p.created_at AS paid_at
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

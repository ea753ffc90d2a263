CREATE VIEW order_payments AS
SELECT
    o.order_id, o.order_amount, p.payment_id, p.amount AS payment_amount
FROM big_orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.placed_at - INTERVAL '5 minutes' AND o.placed_at + INTERVAL '10 minutes';

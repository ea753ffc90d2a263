CREATE VIEW order_payments AS
SELECT
    o.name AS order_id, o.amount AS order_amount, p.payment_id
FROM shouted AS o
FULL JOIN payments AS p
    ON p.order_id = o.name
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    o.order_id, o.note, p.payment_id
FROM (SELECT order_id, customer_id, CAST(note AS INT) AS note, amount, created_at FROM orders) AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    *
FROM orders AS o
FULL JOIN (SELECT payment_id, order_id AS paid_for, created_at AS paid_at FROM payments) AS p
    ON p.paid_for = o.order_id
    AND p.paid_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

CREATE VIEW order_payments AS
SELECT
    o.*, p.payment_id, o._offset AS offset_of_order
FROM orders AS o
INNER JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

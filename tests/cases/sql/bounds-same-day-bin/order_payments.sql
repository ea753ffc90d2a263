CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND date_bin(INTERVAL '1 day', p.created_at, TIMESTAMP '2000-01-01 00:00:00') = date_bin(INTERVAL '1 day', o.created_at, TIMESTAMP '2000-01-01 00:00:00');

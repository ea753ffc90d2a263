CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM order_days AS o
FULL JOIN payment_days AS p
    ON p.order_id = o.order_id
    AND p.day = o.day;

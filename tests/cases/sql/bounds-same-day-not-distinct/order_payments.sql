CREATE VIEW order_payments AS
SELECT
    o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND (CAST(p.created_at AS DATE) IS NOT DISTINCT FROM CAST(o.created_at AS DATE));

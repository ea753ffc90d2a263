CREATE VIEW order_payments AS
SELECT
    r.*, p.payment_id
FROM recent AS r
INNER JOIN payments AS p
    ON p.order_id = r.order_id
    AND p.created_at BETWEEN r.created_at - INTERVAL '5 minutes' AND r.created_at + INTERVAL '10 minutes';

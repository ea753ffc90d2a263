-- Payments that no order came for in time.
CREATE EXTERNAL TABLE orphan_payments
STORED AS MONGODB
LOCATION '${MONGODB_DATABASE:-ecomm_mart}.orphan_payments'
OPTIONS ('id' 'payment_id');

INSERT INTO orphan_payments
SELECT
    payment_id,
    paid_order_id AS order_id,
    payment_date,
    payment_amount,
    payment_created_at,
    _origins AS origins
FROM order_payments
WHERE payment_id IS NOT NULL
    AND order_id IS NULL;

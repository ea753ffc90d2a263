-- Payments that found their order and break a rule, with the rules that they break.
CREATE EXTERNAL TABLE rejected_payments
STORED AS MONGODB
LOCATION '${MONGODB_DATABASE:-ecomm_mart}.rejected_payments'
OPTIONS ('id' 'payment_id');

INSERT INTO rejected_payments
SELECT
    payment_id,
    order_id,
    customer_id,
    order_amount,
    order_created_at,
    payment_amount,
    payment_created_at,
    _violations AS violations,
    _origins AS origins
FROM order_payments
WHERE NOT _valid;

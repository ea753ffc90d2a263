-- Orders with the payment that every rule accepts: one document an order.
CREATE EXTERNAL TABLE validated_orders
STORED AS MONGODB
LOCATION '${MONGODB_DATABASE:-ecomm_mart}.validated_orders'
OPTIONS ('id' 'order_id');

INSERT INTO validated_orders
SELECT
    order_id,
    customer_id,
    order_date,
    order_amount,
    order_created_at,
    payment_id,
    payment_date,
    payment_amount,
    payment_created_at,
    _origins AS origins
FROM order_payments
WHERE _valid;

-- Orders that no payment came for in time.
CREATE EXTERNAL TABLE unpaid_orders
STORED AS MONGODB
LOCATION '${MONGODB_DATABASE:-ecomm_mart}.unpaid_orders'
OPTIONS ('id' 'order_id');

INSERT INTO unpaid_orders
SELECT
    order_id,
    customer_id,
    order_date,
    order_amount,
    order_created_at,
    _origins AS origins
FROM order_payments
WHERE order_id IS NOT NULL
    AND payment_id IS NULL;

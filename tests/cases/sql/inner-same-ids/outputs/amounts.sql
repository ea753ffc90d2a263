CREATE EXTERNAL TABLE amounts STORED AS MONGODB LOCATION 'test.amounts' OPTIONS ('id' 'order_id');
INSERT INTO amounts
SELECT order_id, unnest(make_array(order_amount, payment_amount)) AS amount
FROM order_payments;

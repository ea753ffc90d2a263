CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, customer_id, order_amount, payment_id, payment_amount
FROM order_payments;

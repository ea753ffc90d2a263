CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, payment_id
FROM order_payments;

CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'order_id');
INSERT INTO joined
SELECT order_id, order_at, payment_id
FROM order_payments;

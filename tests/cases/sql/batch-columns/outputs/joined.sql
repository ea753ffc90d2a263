CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, _batch_id AS batch, _batch_time AS at, now() AS clock
FROM order_payments
WHERE payment_id IS NOT NULL;

CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, order_topic, order_partition, order_offset, order_key, payment_id, sent_at, headers
FROM order_payments;

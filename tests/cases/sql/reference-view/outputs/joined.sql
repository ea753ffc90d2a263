CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, customer_id, payment_id, _valid, _violations
FROM order_payments
WHERE _valid IS NOT NULL;

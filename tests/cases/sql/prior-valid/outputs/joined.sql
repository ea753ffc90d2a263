CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT order_id, payment_id, _prior_valid, _valid
FROM order_payments
WHERE _valid IS NOT NULL;

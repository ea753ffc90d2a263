CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT v.order_id, v.payment_id, b.reason
FROM order_payments AS v
JOIN blocked AS b ON b.customer_id = v.customer_id;

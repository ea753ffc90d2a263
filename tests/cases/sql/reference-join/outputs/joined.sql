CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'payment_id, place');
INSERT INTO joined
SELECT v.order_id, v.payment_id, b.reason, COALESCE(b.reason, 'none') AS place
FROM order_payments AS v
LEFT JOIN blocked AS b ON b.customer_id = v.customer_id
WHERE v.payment_id IS NOT NULL AND v._valid;

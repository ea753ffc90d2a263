CREATE UNBOUNDED EXTERNAL TABLE orders (order_id VARCHAR, created_at TIMESTAMP NOT NULL)
STORED AS KAFKA LOCATION 'orders' OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '90S');
CREATE UNBOUNDED EXTERNAL TABLE payments (payment_id VARCHAR NOT NULL, order_id VARCHAR, created_at TIMESTAMP NOT NULL)
STORED AS KAFKA LOCATION 'payments' OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '0.5 hours');
CREATE VIEW order_payments AS
SELECT o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id AND p.created_at BETWEEN o.created_at AND o.created_at + INTERVAL '10 minutes';
CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT order_id, payment_id FROM order_payments;

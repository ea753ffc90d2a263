CREATE UNBOUNDED EXTERNAL TABLE orders (order_id VARCHAR, created_at TIMESTAMP NOT NULL)
STORED AS KAFKA LOCATION 'orders'
OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '1M', 'watermark.idle_timeout' '3M', 'watermark.max_ahead' '5M');
CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT order_id FROM orders;

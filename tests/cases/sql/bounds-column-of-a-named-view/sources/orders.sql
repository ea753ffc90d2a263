CREATE UNBOUNDED EXTERNAL TABLE orders (
    order_id VARCHAR,
    customer_id VARCHAR,
    amount DECIMAL(18, 2),
    created_at TIMESTAMP NOT NULL,
    code VARCHAR
) STORED AS KAFKA LOCATION 'orders'
OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes');

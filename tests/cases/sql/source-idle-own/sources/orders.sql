CREATE UNBOUNDED EXTERNAL TABLE orders (
    order_id VARCHAR NOT NULL,
    customer_id VARCHAR,
    amount DECIMAL(18, 2) NOT NULL,
    created_at TIMESTAMP NOT NULL
) STORED AS KAFKA LOCATION 'orders'
OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes', 'watermark.source_idle_timeout' '5 minutes');

CREATE UNBOUNDED EXTERNAL TABLE payments (
    payment_id VARCHAR NOT NULL,
    order_id VARCHAR,
    amount DECIMAL(18, 2) NOT NULL,
    created_at TIMESTAMP NOT NULL
) STORED AS KAFKA LOCATION 'payments'
OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes', 'watermark.source_idle_timeout' '30s');

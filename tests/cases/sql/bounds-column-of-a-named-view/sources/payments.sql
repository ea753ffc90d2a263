CREATE UNBOUNDED EXTERNAL TABLE payments (
    payment_id VARCHAR NOT NULL,
    order_id VARCHAR,
    amount DECIMAL(18, 2),
    created_at TIMESTAMP NOT NULL,
    note VARCHAR
) STORED AS KAFKA LOCATION 'payments'
OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes');

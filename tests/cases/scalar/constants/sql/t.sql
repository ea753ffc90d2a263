CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    at TIMESTAMP NOT NULL,
    amount DECIMAL(18, 2),
    qty BIGINT,
    whole INT,
    due DATE
) STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    at TIMESTAMP NOT NULL,
    amount DECIMAL(18, 2),
    fine DECIMAL(20, 4),
    qty BIGINT,
    whole INT,
    dbl DOUBLE PRECISION,
    flag BOOLEAN,
    day DATE
) STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    at TIMESTAMP NOT NULL,
    amount DECIMAL(18, 2),
    whole INT,
    flag BOOLEAN,
    note VARCHAR
) STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

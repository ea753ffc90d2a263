CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    at TIMESTAMP NOT NULL,
    note VARCHAR,
    tags VARCHAR,
    wanted VARCHAR
) STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    at TIMESTAMP NOT NULL,
    day DATE,
    sec TIMESTAMP(0),
    other TIMESTAMP
) STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

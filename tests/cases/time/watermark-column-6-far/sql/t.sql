CREATE UNBOUNDED EXTERNAL TABLE t (id VARCHAR NOT NULL, at TIMESTAMP(6) NOT NULL)
STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

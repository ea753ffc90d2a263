CREATE UNBOUNDED EXTERNAL TABLE t (
    id VARCHAR NOT NULL,
    small TINYINT, short SMALLINT, whole INT, large BIGINT,
    real REAL, double DOUBLE, flag BOOLEAN, day DATE, money DECIMAL(34, 4), note VARCHAR,
    at TIMESTAMP NOT NULL
) STORED AS KAFKA LOCATION 't'
OPTIONS ('watermark.column' 'at', 'max.record.bytes' '400');

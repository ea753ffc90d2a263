CREATE UNBOUNDED EXTERNAL TABLE events (
    id VARCHAR NOT NULL,
    n INT,
    at TIMESTAMP NOT NULL
) STORED AS KAFKA LOCATION 'events'
OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

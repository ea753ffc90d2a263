-- The orders, one JSON object a message:
--   {"order_id":"o-1","order_date":"2026-01-05","created_at":"2026-01-05T10:00:00Z","customer_id":"c-7","amount":12.50}
-- A message that is not this becomes a dead letter. The first message of an order_id counts.
-- While no orders come at all the watermark waits for them, and so do unmatched payments; 'watermark.source_idle_timeout'
-- would let it go on without them after a time, and those that come then may be late.
-- Further OPTIONS, with their defaults: 'watermark.idle_timeout' '1 minute' (of a partition beside others),
-- 'watermark.max_ahead' '1 hour' (beyond it a record is a dead letter `future`), 'max.record.bytes' '1048576',
-- 'tombstone' 'ignore' (or 'dead-letter').
CREATE UNBOUNDED EXTERNAL TABLE orders (
    order_id VARCHAR NOT NULL,
    order_date DATE,
    created_at TIMESTAMP NOT NULL,
    customer_id VARCHAR,
    amount DECIMAL(18, 2) NOT NULL,
    PRIMARY KEY (order_id)
)
STORED AS KAFKA
LOCATION '${ORDERS_TOPIC:-orders}'
OPTIONS (
    'watermark.column' 'created_at',
    'watermark.delay' '10 minutes'
);

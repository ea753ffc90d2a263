-- The payments, one JSON object a message:
--   {"payment_id":"p-1","order_id":"o-1","payment_date":"2026-01-05","created_at":"2026-01-05T10:01:00Z","amount":12.50}
-- An order may be paid by several payments; the rules say which of them are right.
-- While no payments come at all the watermark waits for them, and so do unmatched orders; 'watermark.source_idle_timeout'
-- would let it go on without them after a time, and those that come then may be late.
CREATE UNBOUNDED EXTERNAL TABLE payments (
    payment_id VARCHAR NOT NULL,
    order_id VARCHAR NOT NULL,
    payment_date DATE,
    created_at TIMESTAMP NOT NULL,
    amount DECIMAL(18, 2) NOT NULL,
    PRIMARY KEY (payment_id)
)
STORED AS KAFKA
LOCATION '${PAYMENTS_TOPIC:-payments}'
OPTIONS (
    'watermark.column' 'created_at',
    'watermark.delay' '10 minutes'
);

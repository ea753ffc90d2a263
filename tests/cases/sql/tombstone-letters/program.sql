CREATE UNBOUNDED EXTERNAL TABLE orders (
    order_id VARCHAR NOT NULL, amount DECIMAL(18, 2), created_at TIMESTAMP NOT NULL, PRIMARY KEY (order_id)
) STORED AS KAFKA LOCATION 'orders' OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes', 'tombstone' 'dead-letter');

CREATE UNBOUNDED EXTERNAL TABLE payments (
    payment_id VARCHAR NOT NULL, order_id VARCHAR, amount DECIMAL(18, 2), created_at TIMESTAMP NOT NULL
) STORED AS KAFKA LOCATION 'payments' OPTIONS ('watermark.column' 'created_at', 'watermark.delay' '10 minutes');

CREATE VIEW order_payments AS
SELECT o.order_id, p.payment_id
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

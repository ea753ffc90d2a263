CREATE VIEW order_days AS SELECT order_id, CAST(created_at AS DATE) AS day FROM orders;
CREATE VIEW payment_days AS SELECT payment_id, order_id, date_trunc('day', created_at) AS day FROM payments;

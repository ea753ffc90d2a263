CREATE VIEW order_payments AS
SELECT
    o.order_id, o._topic AS order_topic, o._partition AS order_partition, o._offset AS order_offset, o._key AS order_key, p.payment_id, p._timestamp AS sent_at, p._headers AS headers
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

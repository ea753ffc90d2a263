-- Each order with each of its payments; an order without a payment and a payment without an order
-- come out alone, with NULLs, once the watermark proves that no partner can come any more.
-- A payment may be dated up to 5 minutes before its order, for clocks that differ, and 10 after it.
CREATE VIEW order_payments AS
SELECT
    o.order_id,
    o.customer_id,
    o.order_date,
    o.amount AS order_amount,
    o.created_at AS order_created_at,
    p.payment_id,
    p.order_id AS paid_order_id,
    p.payment_date,
    p.amount AS payment_amount,
    p.created_at AS payment_created_at
FROM orders AS o
FULL JOIN payments AS p
    ON p.order_id = o.order_id
    AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes';

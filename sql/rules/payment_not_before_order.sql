-- A payment follows its order. The join reaches back 5 minutes so that such a payment is found and
-- rejected with its order, not left alone.
-- Reads both times. Passes: order 10:00, payment 10:00. Fails: order 10:00, payment 09:59.
SELECT
    payment_created_at >= order_created_at AS holds,
    'the payment is dated before its order' AS detail
FROM order_payments;

-- Nobody pays nothing, or less.
-- Reads payment_amount. Passes: 0.01. Fails: 0.00, -5.00.
SELECT
    payment_amount > 0 AS holds,
    'the payment is of ' || CAST(payment_amount AS VARCHAR) AS detail
FROM order_payments;

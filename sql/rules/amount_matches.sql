-- A payment pays its order exactly.
-- Reads order_amount and payment_amount. Passes: 12.50 for 12.50. Fails: 12.49 for 12.50.
SELECT
    order_amount = payment_amount AS holds,
    'paid ' || CAST(payment_amount AS VARCHAR) || ' for an order of ' || CAST(order_amount AS VARCHAR) AS detail
FROM order_payments;

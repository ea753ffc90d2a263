-- An order is paid once: a payment is right only if no earlier payment of its order was.
-- Reads _prior_valid, the number of earlier right payments of the same order.
-- Passes: the first right payment, also after a wrong one. Fails: every one after that.
SELECT
    _prior_valid = 0 AS holds,
    'the order has been paid already' AS detail
FROM order_payments;

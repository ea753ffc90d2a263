SELECT
    (SELECT count(*) FROM blocked AS b WHERE b.customer_id = order_payments.customer_id) = 0 AS holds,
    'the customer is blocked: ' || (SELECT max(b.reason) FROM blocked AS b WHERE b.customer_id = order_payments.customer_id) AS detail
FROM order_payments;

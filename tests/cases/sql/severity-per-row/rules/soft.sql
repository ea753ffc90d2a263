SELECT payment_amount <= order_amount AS holds, CASE WHEN payment_amount > order_amount * 2 THEN 'reject' ELSE 'warn' END AS severity FROM order_payments;

SELECT order_amount = payment_amount AS holds FROM order_payments;

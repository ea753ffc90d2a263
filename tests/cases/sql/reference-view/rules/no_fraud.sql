SELECT (SELECT count(*) FROM frauds AS f WHERE f.customer_id = v.customer_id) = 0 AS holds FROM order_payments AS v;

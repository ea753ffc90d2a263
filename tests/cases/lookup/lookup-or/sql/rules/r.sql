SELECT (SELECT count(*) FROM blocked AS b WHERE b.customer_id = v.customer_id OR b.reason = v."customerId") = 0 AS holds FROM t AS v;

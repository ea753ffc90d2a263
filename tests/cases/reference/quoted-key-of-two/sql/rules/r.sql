SELECT (SELECT count(*) FROM blocked AS b WHERE b."customerId" = v.customer_id) < 2 AS holds FROM t AS v;

SELECT (SELECT count(*) FROM blocked AS b WHERE b.customer_id <> v.customer_id) = 1 AS holds FROM t AS v;

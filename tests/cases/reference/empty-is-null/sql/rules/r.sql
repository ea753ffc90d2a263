SELECT (SELECT count(*) FROM blocked AS b WHERE b.customer_id = v.customer_id) + (SELECT count(b.reason) FROM blocked AS b) = 3 AS holds FROM t AS v;

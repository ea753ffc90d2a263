SELECT (SELECT count(*) FROM blocked AS b WHERE v.customer_id = lower(b.customer_id)) = 0 AS holds FROM t AS v;

SELECT (SELECT count(*) FROM patterns AS p WHERE v.customer_id LIKE p.pattern) = 0 AS holds FROM t AS v;

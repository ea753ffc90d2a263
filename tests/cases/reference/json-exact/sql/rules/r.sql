SELECT (SELECT max(l.least) FROM limits AS l WHERE l.code = v.customer_id) = 123456789012345678.01 AS holds FROM t AS v;

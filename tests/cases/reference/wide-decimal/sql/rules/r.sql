SELECT (SELECT max(l.least) FROM limits AS l WHERE l.code = v.customer_id) = 1234567890123456789012345678.0123456789 AS holds FROM t AS v;

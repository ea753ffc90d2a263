SELECT (SELECT count(*) FROM bands AS b WHERE b.code = v.customer_id) = 3 AND (SELECT count(*) FROM bands AS b WHERE b.lo > v.amount) = 2 AS holds FROM t AS v;

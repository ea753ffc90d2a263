SELECT (SELECT b.fee FROM bands AS b WHERE b.code = v.customer_id) = 9.99 AS holds FROM t AS v;

SELECT (SELECT sum(b.fee * v.amount) FROM bands AS b WHERE b.code = v.customer_id) = 19.98 AS holds FROM t AS v;

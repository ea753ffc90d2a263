SELECT (SELECT sum(b.fee) FROM bands AS b WHERE b.code = v.customer_id AND v.amount BETWEEN b.lo AND b.hi) = 9.99 AS holds FROM t AS v;

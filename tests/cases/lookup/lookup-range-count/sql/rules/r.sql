SELECT (SELECT count(*) FROM bands AS b WHERE b.lo <= v.amount AND v.amount < b.hi) = 1 AS holds FROM t AS v;

SELECT v.amount - (SELECT coalesce(max(b.fee), 0) + 1 FROM bands AS b WHERE b.lo <= v.amount AND v.amount < b.hi) > 4 AS holds FROM t AS v;

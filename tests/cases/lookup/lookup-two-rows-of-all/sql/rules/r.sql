SELECT (SELECT b.fee FROM bands AS b) > 0 AS holds FROM t AS v;

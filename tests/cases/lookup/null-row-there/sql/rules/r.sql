SELECT (SELECT r.rate FROM rates AS r WHERE r.code = 'USD') IS NOT NULL AND (SELECT r.rate FROM rates AS r WHERE r.code = 'USD') = 1.1 AS holds FROM t AS v;

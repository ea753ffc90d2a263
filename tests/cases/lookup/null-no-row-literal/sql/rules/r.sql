SELECT (SELECT 1 FROM rates AS r WHERE r.code = 'EUR') IS NULL AND coalesce((SELECT r.rate FROM rates AS r WHERE r.code = 'EUR'), 7) = 7 AS holds FROM t AS v;

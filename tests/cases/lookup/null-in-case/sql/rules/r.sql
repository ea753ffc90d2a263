SELECT CASE WHEN (SELECT r.rate FROM rates AS r WHERE r.code = 'EUR') IS NOT NULL THEN false ELSE coalesce((SELECT r.code FROM rates AS r WHERE r.rate > 5), 'none') = 'none' END AS holds FROM t AS v;

SELECT (SELECT max(r.rate) FROM rates AS r WHERE r.code = v.customer_id) IS NULL AND (SELECT count(*) FROM rates AS r WHERE r.code = v.customer_id) IS NOT NULL AS holds FROM t AS v;

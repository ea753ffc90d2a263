SELECT (SELECT r.rate FROM rates AS r WHERE r.code = v.customer_id) IS NULL AS holds FROM t AS v;

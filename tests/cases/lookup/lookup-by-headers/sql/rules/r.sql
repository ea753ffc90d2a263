SELECT (SELECT count(*) FROM blocked AS b WHERE lower(b.customer_id) = lower(v.customer_id) OR cardinality(v.headers) > 0) = 0 AS holds FROM v;

SELECT (SELECT count(*) FROM blocked AS b WHERE upper(b.customer_id) = upper(v.customer_id) AND b.reason = v."customerId" AND b.reason <> 'x') = 2 AS holds FROM t AS v;

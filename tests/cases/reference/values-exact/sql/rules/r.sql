SELECT (SELECT max(l.least) FROM limits AS l WHERE l.code = v.customer_id) = v.amount
    AND (SELECT sum(l.n) FROM limits AS l) = 106
    AND (SELECT min(l.day) FROM limits AS l) = DATE '0001-01-01'
    AND (SELECT max(l.since) FROM limits AS l) = TIMESTAMP '2026-01-05 00:00:00'
    AND (SELECT count(*) FROM limits AS l WHERE l.flag) = 1 AS holds
FROM t AS v;

CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    (SELECT amt FROM r ORDER BY k LIMIT 1) AS first_amt,
    (SELECT k FROM r ORDER BY amt LIMIT 1) AS cheapest,
    (SELECT amt * 2 FROM r ORDER BY k LIMIT 1) AS twice,
    (SELECT sum(amt) FROM (SELECT amt FROM r ORDER BY k LIMIT 2) AS x) AS two,
    (SELECT k FROM r ORDER BY amt DESC NULLS LAST LIMIT 1 OFFSET 1) AS second,
    (SELECT sum(q) FROM r) > 9223372036854775807 AS beyond,
    (SELECT count(*) FROM r WHERE r.amt = t.qty) AS equal_amounts,
    (SELECT count(*) FROM r WHERE r.q = t.qty) AS equal_numbers
FROM t;

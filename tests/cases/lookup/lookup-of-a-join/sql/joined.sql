CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT id,
    (SELECT count(*) FROM bands AS b JOIN bands AS c ON c.code = b.code WHERE b.lo <= t.amount) AS n,
    (SELECT string_agg(DISTINCT b.code, ',' ORDER BY b.code) FROM bands AS b WHERE b.lo <= t.amount) AS codes
FROM t;

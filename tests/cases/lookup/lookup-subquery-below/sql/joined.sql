CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT id,
    (SELECT count(*) FROM bands AS b WHERE b.lo <= t.amount AND b.fee > (SELECT min(c.fee) FROM bands AS c)) AS x,
    (SELECT count(*) FROM bands AS b WHERE b.lo <= t.amount AND b.fee >= (SELECT max(c.fee) FROM bands AS c WHERE c.code = b.code)) AS y,
    (SELECT count(*) FROM bands AS b WHERE b.lo <= t.amount AND EXISTS (SELECT 1 FROM bands AS c WHERE c.code = b.code AND c.lo > b.lo)) AS z
FROM t;

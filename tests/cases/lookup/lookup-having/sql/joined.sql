CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT id, (SELECT count(*) FROM bands AS b WHERE b.lo <= t.amount AND t.amount < coalesce(b.hi, 1000000) HAVING count(*) > 1) AS n FROM t;

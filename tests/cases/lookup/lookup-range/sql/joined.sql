CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT id, (SELECT max(b.fee) FROM bands AS b WHERE b.lo <= t.amount AND t.amount < coalesce(b.hi, 1000000)) AS fee FROM t;

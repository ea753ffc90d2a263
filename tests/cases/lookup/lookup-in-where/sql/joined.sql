CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT id, amount FROM t WHERE (SELECT count(*) FROM bands AS b WHERE b.lo <= t.amount AND t.amount < b.hi) > 1;

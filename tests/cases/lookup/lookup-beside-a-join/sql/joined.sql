CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'id, fee');
INSERT INTO joined
SELECT t.id, b.fee, (SELECT max(c.fee) FROM bands AS c WHERE c.lo <= b.lo AND c.code = b.code AND c.lo < t.amount) AS more
FROM t
JOIN bands AS b ON t.amount >= b.lo AND t.amount < b.hi;

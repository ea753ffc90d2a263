CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed' OPTIONS ('id' 'id,k');
INSERT INTO computed
SELECT id, coalesce(f.k, 'none') AS k
FROM t
LEFT JOIN (SELECT DISTINCT k, q FROM r) AS f ON f.q = t.qty;

CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined
SELECT id, (SELECT b.fee FROM bands AS b WHERE b.code = t.customer_id) AS fee,
    (SELECT b.fee FROM bands AS b WHERE b.code = t.customer_id) IS NULL AS none
FROM t;

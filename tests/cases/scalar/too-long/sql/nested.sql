CREATE EXTERNAL TABLE nested STORED AS MONGODB LOCATION 'test.nested';
INSERT INTO nested SELECT id, named_struct('deep', [0, wide]) AS number FROM t;

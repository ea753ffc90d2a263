CREATE EXTERNAL TABLE letters STORED AS MONGODB LOCATION 'test.letters';
INSERT INTO letters SELECT topic, "offset", reason, 10 / ("offset" - 1) AS share FROM dead_letters;

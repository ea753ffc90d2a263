CREATE EXTERNAL TABLE letters STORED AS MONGODB LOCATION 'test.letters';
INSERT INTO letters SELECT topic, "offset", reason, 10 / nullif("offset" - 1, 0) AS share FROM dead_letters;

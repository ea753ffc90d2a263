CREATE EXTERNAL TABLE letters STORED AS MONGODB LOCATION 'test.letters';
INSERT INTO letters
SELECT topic, "partition", "offset", reason, error
FROM dead_letters;

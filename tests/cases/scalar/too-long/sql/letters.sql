CREATE EXTERNAL TABLE letters STORED AS MONGODB LOCATION 'test.letters';
INSERT INTO letters SELECT topic, "offset", reason, error FROM dead_letters;

CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT id, small, short, whole, large, real, double, flag, day, money, note, at FROM t;

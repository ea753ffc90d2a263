CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'id');
INSERT INTO joined SELECT id, sec, ms, us, ns, day FROM t;

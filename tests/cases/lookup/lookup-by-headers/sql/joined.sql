CREATE VIEW v AS SELECT id, at, customer_id, _headers AS headers FROM t;
CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT id, _valid FROM v;

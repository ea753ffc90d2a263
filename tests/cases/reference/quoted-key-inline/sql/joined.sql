CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined';
INSERT INTO joined SELECT t.id, b."Reason" AS reason FROM t LEFT JOIN blocked AS b ON b."customerId" = t.customer_id;

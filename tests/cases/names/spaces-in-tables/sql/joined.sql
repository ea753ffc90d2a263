CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'orderId');
INSERT INTO joined SELECT "orderId", "paymentId", _valid FROM "order - payments" WHERE _valid IS NOT NULL AND "orderId" IS NOT NULL;

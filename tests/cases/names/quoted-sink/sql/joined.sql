CREATE EXTERNAL TABLE "Joined Rows.all" STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'orderId');
INSERT INTO "Joined Rows.all" SELECT "orderId", "paymentId", _valid FROM "OrderPayments" WHERE _valid IS NOT NULL AND "orderId" IS NOT NULL;

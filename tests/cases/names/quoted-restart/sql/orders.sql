CREATE UNBOUNDED EXTERNAL TABLE "Orders.all" ("orderId" VARCHAR NOT NULL, total DECIMAL(18, 2), "createdAt" TIMESTAMP NOT NULL, PRIMARY KEY ("orderId"))
STORED AS KAFKA LOCATION 'orders' OPTIONS ('watermark.column' 'createdAt', 'watermark.delay' '10 minutes');

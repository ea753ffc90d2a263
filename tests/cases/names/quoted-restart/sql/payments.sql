CREATE UNBOUNDED EXTERNAL TABLE "All Payments" ("paymentId" VARCHAR NOT NULL, "orderId" VARCHAR NOT NULL, "createdAt" TIMESTAMP NOT NULL, PRIMARY KEY ("paymentId"))
STORED AS KAFKA LOCATION 'payments' OPTIONS ('watermark.column' 'createdAt', 'watermark.delay' '10 minutes');

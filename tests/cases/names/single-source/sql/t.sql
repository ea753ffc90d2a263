CREATE UNBOUNDED EXTERNAL TABLE "My.Events" ("Id" VARCHAR NOT NULL, at TIMESTAMP NOT NULL, "Amount.net" DECIMAL(18, 2), "customer id" VARCHAR, PRIMARY KEY ("Id"))
STORED AS KAFKA LOCATION 't' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');

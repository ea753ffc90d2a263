CREATE UNBOUNDED EXTERNAL TABLE orders ("order.id" VARCHAR NOT NULL, "total amount" DECIMAL(18, 2), "created at" TIMESTAMP NOT NULL, "we""ird" INT, PRIMARY KEY ("order.id"))
STORED AS KAFKA LOCATION 'orders' OPTIONS ('watermark.column' 'created at');
CREATE UNBOUNDED EXTERNAL TABLE payments ("payment id" VARCHAR NOT NULL, "Order.Id" VARCHAR NOT NULL, "created.at" TIMESTAMP NOT NULL, PRIMARY KEY ("payment id"))
STORED AS KAFKA LOCATION 'payments' OPTIONS ('watermark.column' 'created.at');
CREATE VIEW "v w" AS
SELECT o."total amount" AS "Total.Amount", o."we""ird", p."payment id" AS "Payment Id"
FROM orders AS o
FULL JOIN payments AS p
    ON p."Order.Id" = o."order.id"
    AND p."created.at" BETWEEN o."created at" AND o."created at" + INTERVAL '10 minutes';
CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'Payment Id');
INSERT INTO joined ("Payment Id", total, "weird", _valid)
SELECT "Payment Id", "Total.Amount", "we""ird", _valid FROM "v w" WHERE _valid IS NOT NULL AND "Payment Id" IS NOT NULL;

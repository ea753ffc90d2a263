CREATE VIEW "order - payments" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "all orders" AS o
FULL JOIN "all payments" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

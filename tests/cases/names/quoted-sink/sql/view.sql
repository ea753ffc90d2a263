CREATE VIEW "OrderPayments" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "Orders" AS o
FULL JOIN "Payments" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

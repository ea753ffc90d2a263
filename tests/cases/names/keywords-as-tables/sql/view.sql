CREATE VIEW "join" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "select" AS o
FULL JOIN "from" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

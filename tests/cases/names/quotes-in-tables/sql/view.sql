CREATE VIEW "order's ""view""" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "the ""orders""" AS o
FULL JOIN "the ""payments""" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

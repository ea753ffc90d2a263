CREATE VIEW "Order Payments" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "Orders.all" AS o
FULL JOIN "All Payments" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

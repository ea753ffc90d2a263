CREATE VIEW "shop.order_payments" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "shop.orders" AS o
FULL JOIN "shop.eu.payments" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

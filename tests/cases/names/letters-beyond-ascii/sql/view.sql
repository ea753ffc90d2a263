CREATE VIEW "Übersicht" AS
SELECT o."orderId", o.total, p."paymentId"
FROM "Bestellübersicht" AS o
FULL JOIN "Zahlungsübersicht" AS p
    ON p."orderId" = o."orderId"
    AND p."createdAt" BETWEEN o."createdAt" AND o."createdAt" + INTERVAL '10 minutes';

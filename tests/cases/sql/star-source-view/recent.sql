CREATE VIEW recent AS
SELECT *
FROM orders
WHERE amount > 3;

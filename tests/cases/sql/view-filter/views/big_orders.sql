-- Orders of ten and more, under the names that the join uses.
CREATE VIEW big_orders AS
SELECT order_id, amount AS order_amount, created_at AS placed_at
FROM orders
WHERE amount >= 10;

CREATE VIEW shouted AS SELECT upper(plain.order_id) AS name, plain.amount, plain.created_at FROM plain WHERE plain.amount < 100;

CREATE VIEW plain AS SELECT * FROM orders WHERE amount > 1;

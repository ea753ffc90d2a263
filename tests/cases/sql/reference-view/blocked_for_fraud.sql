CREATE VIEW frauds AS SELECT customer_id FROM blocked WHERE reason = 'fraud';

CREATE EXTERNAL TABLE blocked (customer_id VARCHAR, reason VARCHAR) STORED AS JSON LOCATION 'blocked.jsonl';

CREATE EXTERNAL TABLE blocked (customer_id VARCHAR, reason VARCHAR) STORED AS CSV LOCATION 'blocked.csv' OPTIONS ('format.has_header' 'FALSE');

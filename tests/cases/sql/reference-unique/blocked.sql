CREATE EXTERNAL TABLE blocked (customer_id VARCHAR NOT NULL, reason VARCHAR, PRIMARY KEY (customer_id)) STORED AS CSV LOCATION 'blocked.csv' OPTIONS ('format.has_header' 'true');

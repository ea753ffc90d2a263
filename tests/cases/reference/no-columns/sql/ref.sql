CREATE EXTERNAL TABLE blocked STORED AS CSV LOCATION 'blocked.csv' OPTIONS ('format.has_header' 'true');

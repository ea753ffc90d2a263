CREATE EXTERNAL TABLE blocked ("customerId" VARCHAR, "Since" DATE, reason VARCHAR, PRIMARY KEY ("customerId", "Since")) STORED AS CSV LOCATION 'blocked.csv';

CREATE EXTERNAL TABLE "Blocked.list" ("Customer Id" VARCHAR, "Reason" VARCHAR, PRIMARY KEY ("Customer Id")) STORED AS CSV LOCATION 'blocked.csv' OPTIONS ('format.has_header' 'true');
CREATE VIEW "Fraud Only" AS SELECT "Customer Id" AS "Who" FROM "Blocked.list" WHERE "Reason" = 'fraud';

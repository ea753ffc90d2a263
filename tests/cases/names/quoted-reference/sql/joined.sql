CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'Id');
INSERT INTO joined
SELECT e."Id", b."Reason" AS reason, e._valid
FROM "My.Events" AS e
LEFT JOIN "Blocked.list" AS b ON b."Customer Id" = e."customer id";

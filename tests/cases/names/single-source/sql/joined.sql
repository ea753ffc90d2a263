CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'Id');
INSERT INTO joined SELECT "Id", "Amount.net" AS net, _valid FROM "My.Events";

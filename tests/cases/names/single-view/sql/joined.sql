CREATE EXTERNAL TABLE joined STORED AS MONGODB LOCATION 'test.joined' OPTIONS ('id' 'Id');
INSERT INTO joined SELECT "Id", "Net Amount" AS net FROM "V.1";

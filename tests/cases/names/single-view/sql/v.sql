CREATE VIEW "V.1" AS SELECT "Id", "Amount.net" AS "Net Amount" FROM "My.Events" AS "e.1" WHERE "e.1"."Amount.net" > 5;

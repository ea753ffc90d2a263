SELECT (SELECT count(*) FROM "Fraud Only" AS "F" WHERE "F"."Who" = "v.v"."customer id") = 0 AS holds FROM "My.Events" AS "v.v";

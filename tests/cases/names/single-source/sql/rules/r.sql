SELECT "Amount.net" > 5 AS holds FROM "My.Events" AS "E v";

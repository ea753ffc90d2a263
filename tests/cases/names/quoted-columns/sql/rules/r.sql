SELECT "Total.Amount" > 5 AS holds FROM "v w";

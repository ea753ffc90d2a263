SELECT total > 1 AS holds FROM "order's ""view""";

SELECT total > 1 AS holds FROM "Übersicht";

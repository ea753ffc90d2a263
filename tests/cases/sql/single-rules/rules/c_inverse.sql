SELECT 10 / n < 100 AS holds FROM events;

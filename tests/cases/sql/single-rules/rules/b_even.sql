SELECT n % 2 = 0 AS holds, 'odd' AS detail, 'warn' AS severity FROM events;

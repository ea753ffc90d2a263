CREATE VIEW odd AS SELECT id, n * 2 AS twice, at FROM events WHERE n % 2 = 1;

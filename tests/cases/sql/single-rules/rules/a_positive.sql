SELECT n > 0 AS holds, 'n is ' || CAST(n AS VARCHAR) AS detail FROM events;

CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    (note ~ 'o') || '-1' AS text_of_match,
    note ILIKE 'i' AS ilike_dot,
    'A%' ILIKE 'aX%' ESCAPE 'X' AS ilike_escape,
    note ~ 'a\<b' AS escaped_angle,
    note ~ '[[:alpha:]]' AS letters,
    note ~ '^\w' AS word,
    flag = 'true' AS quoted_boolean,
    us - at > '1 day' AS quoted_interval,
    - (whole + 1) AS negated_sum,
    us + INTERVAL '1.5 days' AS day_and_half,
    us + INTERVAL '0.25 seconds' AS quarter_second,
    amount IN (12.4) AS in_one,
    qty IN (NULL) AS in_one_null,
    right(note, 2) AS right_all,
    note LIKE 'o-2\' AS like_backslash,
    TIMESTAMP '2026-01-05 10:00:00.1234565' = us AS rounded,
    lower(note) AS lower_dot
FROM t;

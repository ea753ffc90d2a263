CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    due >= at AS no_end,
    day < at AS since_ever,
    day = other AS same_midnight,
    sec > at AS sec_after,
    us = at AS us_same,
    at BETWEEN day AND due AS between,
    other - at <= INTERVAL '5 minutes' AS in_time,
    day + INTERVAL '1 month' <= due AS a_month_later,
    due - day > 7 AS a_week,
    due - day AS days,
    day + 1 AS next_day,
    CAST(at AS DATE) = day AS as_date,
    date_trunc('day', at) = day AS midnight,
    day > '2025-12-31' AS literal,
    greatest(day, due) AS latest,
    sec - INTERVAL '1 year' AS year_later
FROM t;

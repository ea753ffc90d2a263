CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    EXTRACT(YEAR FROM other) > 0 AS year_positive,
    EXTRACT(YEAR FROM sec) < 9999 AS year_lt,
    date_part('year', other) = 2026 AS date_part_year,
    EXTRACT(QUARTER FROM day) AS quarter,
    EXTRACT(YEAR FROM other) / 4 = 506.5 AS fourth,
    EXTRACT(MONTH FROM day) IN (1, 12) AS month_in,
    EXTRACT(WEEK FROM day) AS week,
    EXTRACT(ISOYEAR FROM day) AS isoyear,
    EXTRACT(DOW FROM day) AS dow,
    EXTRACT(SECOND FROM other) AS second,
    EXTRACT(EPOCH FROM sec) AS epoch,
    EXTRACT(HOUR FROM other) BETWEEN 0 AND 23 AS hour_between,
    EXTRACT(DOY FROM sec) AS doy,
    EXTRACT(DAY FROM other - at) AS days_between
FROM t;

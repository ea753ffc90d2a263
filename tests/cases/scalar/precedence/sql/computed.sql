CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    flag IS NOT DISTINCT FROM false AND false AS distinct_and,
    flag IS DISTINCT FROM true OR true AS distinct_or,
    flag IS NOT DISTINCT FROM whole = 1 AS distinct_compares,
    whole IS DISTINCT FROM 0 + 1 AND flag AS distinct_sum,
    NOT whole = 1 AS not_equal,
    NOT flag IS NULL AS not_is,
    - whole + 3 AS minus,
    - whole::BIGINT AS cast_minus,
    1 + 2 || note AS concat_sum,
    flag OR flag AND false AS or_and,
    whole BETWEEN 0 AND 2 AND flag AS between_and,
    whole = 1 IS TRUE AS is_true_or,
    note || 'c' LIKE 'a%' AS like_concat,
    7 % 4 * 2 AS modulo,
    NOT whole IN (1, 2) AS not_in
FROM t;

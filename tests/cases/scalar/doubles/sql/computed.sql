CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    dbl > 0.5 AS above_half,
    dbl > 0.0 AS above_zero,
    dbl = 0 AS is_zero,
    dbl = 0.1 AS is_tenth,
    dbl >= 0.0 AS at_least_zero,
    dbl < 0 AS below_zero,
    dbl >= amount AS beside_amount,
    dbl IN (0.1, 0, 2e15) AS in_list,
    dbl BETWEEN 0.0 AND 0.1 AS between,
    (dbl IS NOT DISTINCT FROM amount) AS not_distinct,
    dbl + 0.5 > 0.5 AS sum,
    qty = dbl AS beside_whole,
    nullif(dbl, 0) IS NULL AS nullif_zero,
    sign(dbl) AS sign
FROM t;

CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    round(fine, 2) = amount AS round_is_amount,
    round(amount * 1.19, 2) AS round_of_product,
    amount = round(amount / 1.19, 2) + round(amount - amount / 1.19, 2) AS tax,
    round(fine) < 3 AS round_whole,
    floor(small) AS floor_small,
    ceil(small) AS ceil_small,
    ceil(medium) = 1000 AS ceil_at_edge,
    floor(medium) >= -1000 AS floor_at_edge,
    ceiling(fine) BETWEEN 1 AND 13 AS ceiling_between,
    trunc(fine, 1) AS trunc_one,
    round(fine, -1) AS tens,
    round(fine) IN (1, -3, 13) AS in_list,
    CASE WHEN round(fine, 2) > 1.23 THEN floor(fine) ELSE ceil(fine) END AS case_round
FROM t;

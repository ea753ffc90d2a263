CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    note NOT IN ('A', 'B') OR note NOT IN ('C') AS not_in_or,
    note NOT IN ('A', 'B') AND note <> 'C' AS not_in_and,
    whole NOT IN (1, NULL) AS not_in_null,
    whole IN (1, NULL) AS in_null,
    note IN ('A') OR note IN ('X') AS in_or,
    note ~ '.*' AS any_text,
    note !~ '.*' AS no_text,
    note LIKE '%' AS like_all,
    note NOT LIKE '%' AS not_like,
    note SIMILAR TO '%' AS similar_all,
    amount > 0 OR true AS or_true,
    amount > 0 AND false AS and_false,
    amount = amount AS equal_self,
    note <> note AS not_equal_self,
    CASE whole WHEN NULL THEN 1 ELSE 2 END AS case_null,
    coalesce(whole, 0) = 0 AS coalesce,
    nullif(whole, 1) IS NULL AS nullif_self,
    (amount > 0) IS NOT TRUE AS is_not_true,
    greatest(whole, 5, NULL) AS greatest
FROM t;

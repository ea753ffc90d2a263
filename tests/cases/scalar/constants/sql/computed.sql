CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    (whole * (CASE 0 WHEN 1 THEN 1 END)) IS NULL AS null_decides,
    CASE 7 WHEN 1 THEN 1 / qty ELSE 2 END AS case_decides,
    (1 / (qty - qty + 1) > 0) OR true AS true_decides,
    (amount / (qty + 1) > 0) AND false AS false_decides,
    4 NOT BETWEEN whole AND 0.00 AS not_between,
    coalesce(1, whole) AS coalesce_first,
    due IN (DATE '9999-12-31', DATE '2026-01-01') AS in_first,
    ceil(round(3000000000)) AS sum_of_constants,
    (whole + NULL) IN (1, 2) AS null_in_list,
    coalesce(amount, 1 + 100.001) AS scale_kept
FROM t;

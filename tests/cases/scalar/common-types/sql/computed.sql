CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    CASE WHEN flag THEN amount ELSE 0 END AS case_zero,
    CASE WHEN flag THEN whole ELSE amount END AS case_whole,
    CASE WHEN flag THEN amount ELSE fine END AS case_finer,
    CASE WHEN flag THEN dbl ELSE amount END AS case_double,
    coalesce(amount, 0) AS coalesce_zero,
    coalesce(amount, fine, 0.00001) AS coalesce_finer,
    coalesce(qty, whole, -1) AS coalesce_whole,
    nullif(amount, 0) AS nullif,
    greatest(amount, whole) AS greatest,
    least(qty, 2.5) AS least,
    CASE whole WHEN 2 THEN amount WHEN 7 THEN 1 END AS simple_case,
    CASE WHEN flag THEN 'yes' END AS case_text,
    CASE WHEN flag THEN day ELSE '2026-02-01' END AS case_date,
    amount * 2 AS times_two,
    qty * amount AS qty_times,
    amount - fine AS difference,
    amount % 5 AS remainder
FROM t;

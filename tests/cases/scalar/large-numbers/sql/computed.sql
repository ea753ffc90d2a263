CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    wide * wide > 0 AS square,
    amount * amount * amount >= 0 AS cube,
    qty * amount = amount * qty AS product_equal,
    round(amount / 3, 4) AS ratio,
    amount / qty < 0.1 AS ratio_small,
    round(0.01 / 30000, 12) AS quotient,
    wide + wide > wide AS sum_wide,
    small * 0.1 AS tenth,
    amount * 2 AS times_two,
    wide > amount AS compare,
    qty % 10 AS modulo,
    round((amount + small) / 2, 2) AS average,
    qty / 2 AS whole_quotient
FROM t;

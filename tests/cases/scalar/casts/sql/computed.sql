CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    CAST(amount AS INT) = 12 AS as_int,
    CAST(fine AS BIGINT) AS as_bigint,
    CAST(fine AS DECIMAL(18, 2)) = 1.23 AS as_two_places,
    CAST(fine AS DECIMAL(18, 1)) AS as_one_place,
    TRY_CAST(qty AS INT) > 0 AS try_int,
    TRY_CAST(qty AS SMALLINT) AS try_smallint,
    TRY_CAST(fine AS DECIMAL(3, 1)) AS try_narrow,
    TRY_CAST(note AS INT) AS try_text,
    TRY_CAST(note AS DECIMAL(4, 1)) IS NULL AS try_is_null,
    CAST(amount AS VARCHAR) AS text_of,
    CAST(amount * 2 AS VARCHAR) AS text_of_product,
    amount::DECIMAL(10, 1) AS double_colon
FROM t;

CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    array_has_all(string_to_array(tags, ','), string_to_array(wanted, ',')) AS has_all,
    array_has_any(string_to_array(tags, ','), string_to_array(wanted, ',')) AS has_any,
    array_has(string_to_array(tags, ','), note) AS has,
    string_to_array(tags, ',') @> string_to_array('a', ',') AS contains_operator,
    (string_to_array(tags, ','))[1] AS first,
    (string_to_array(tags, ','))[9] AS none_there,
    cardinality(string_to_array(tags, ',')) AS count,
    array_length(string_to_array(tags, ','), 1) AS length,
    array_to_string(string_to_array(tags, ','), '+') AS joined,
    string_to_array(tags, ',') = string_to_array(wanted, ',') AS equal,
    array_position(string_to_array(tags, ','), note) AS place,
    string_to_array(tags, ',') AS list,
    string_to_array(tags, ',', 'b') AS null_text
FROM t;

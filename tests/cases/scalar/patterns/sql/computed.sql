CREATE EXTERNAL TABLE computed STORED AS MONGODB LOCATION 'test.computed';
INSERT INTO computed
SELECT
    id,
    note SIMILAR TO 'o-[0-9]+' AS similar,
    note SIMILAR TO '%o-[0-9]+%' AS similar_any,
    note SIMILAR TO '(o|x)-%|50\%' AS similar_alternatives,
    note SIMILAR TO 'a.b' AS similar_dot,
    note SIMILAR TO '_._' AS similar_underscore,
    note NOT SIMILAR TO '%[0-9]%' AS not_similar,
    note ~ 'o-[0-9]+' AS regex,
    note ~ '^o-[0-9]+$' AS regex_anchored,
    note ~* '^O-' AS regex_case,
    note ~ '1.x' AS regex_dot_line,
    note ~ '[[:digit:]]%' AS regex_class,
    note LIKE '%\%' AS like_escape,
    note LIKE '____' AS like_one,
    note ILIKE 'o-%' AS ilike,
    regexp_replace(note, '[^0-9]', '', 'g') AS digits
FROM t;

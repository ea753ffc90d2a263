//! Functions that people know from elsewhere, and what to write here instead.

/// Known to people, with results that differ from PostgreSQL's or depend on more than the row: what to write instead.
const ADVICE: &[(&[&str], &str)] = &[
    (&["log", "log10", "log2", "cbrt", "exp2"], "write ln(x) / ln(10.0), over DOUBLE"),
    (&["to_char", "date_format"], "write date_trunc or EXTRACT, or CAST(… AS VARCHAR) for ISO 8601"),
    (&["avg", "mean"], "write sum(x) / count(x), rounded to the digits that are wanted"),
    (&["to_date"], "write CAST(… AS DATE)"),
    (
        &["to_timestamp"],
        "write CAST(… AS TIMESTAMP) for a text, to_timestamp_seconds(x) or _millis(x) for a number",
    ),
    (&["nvl2"], "write CASE WHEN a IS NOT NULL THEN b ELSE c END"),
    (
        &[
            "array_append",
            "array_cat",
            "array_concat",
            "array_remove",
            "flatten",
            "array_sort",
            "array_distinct",
        ],
        "make lists where they are stored; here they can be searched",
    ),
    (
        &["regexp_match", "regexp_count", "regexp_instr", "regexp_substr"],
        "write regexp_like(text, pattern) or text ~ pattern",
    ),
    (&["isnan", "nanvl"], "NaN never comes from a record: compare with a number"),
];

/// What to write instead of a function that is not known.
pub(crate) fn advice(name: &str) -> &'static str {
    let known = ADVICE.iter().find(|(names, _)| names.contains(&name));
    known.map_or("sql/README.md lists the functions, which are PostgreSQL's", |(_, advice)| advice)
}

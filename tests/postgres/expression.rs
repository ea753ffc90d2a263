//! Random expressions over the columns of [`SCHEMA`], as SQL files say them and as PostgreSQL does.
//!
//! The two texts are the same but where PostgreSQL has no word for a thing (TRY_CAST, `array_has`), and for
//! the difference on purpose: a CAST of a fraction to a whole number drops it.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The columns, in both dialects.
pub const SCHEMA: &str = "id VARCHAR NOT NULL, at TIMESTAMP NOT NULL, amount DECIMAL(18, 2), fine DECIMAL(20, 4), \
    small DECIMAL(2, 1), medium DECIMAL(4, 1), qty BIGINT, whole INT, short SMALLINT, dbl DOUBLE PRECISION, rl REAL, \
    flag BOOLEAN, day DATE, due DATE, note VARCHAR, tags VARCHAR, wanted VARCHAR, sec TIMESTAMP(0), ms TIMESTAMP(3), \
    us TIMESTAMP(6), other TIMESTAMP, wide DECIMAL(38, 10), wider DECIMAL(38, 2)";

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Decimal,
    Double,
    Text,
    Date,
    Timestamp,
    List,
}

/// An expression in both dialects.
#[derive(Clone, Debug)]
pub struct Expression {
    pub kind: Kind,
    pub ours: String,
    pub theirs: String,
}

/// Makes expressions, the same ones for a seed.
pub struct Generator {
    random: ChaCha8Rng,
}

/// One template: `{}` for each argument, of the kinds given.
type Template = (&'static str, &'static [Kind]);

use Kind::{Bool, Date, Decimal, Double, Int, List, Text, Timestamp};

const BOOLS: &[Template] = &[
    ("{} AND {}", &[Bool, Bool]),
    ("{} OR {}", &[Bool, Bool]),
    ("NOT {}", &[Bool]),
    ("{} = {}", &[Decimal, Decimal]),
    ("{} <> {}", &[Decimal, Decimal]),
    ("{} < {}", &[Decimal, Decimal]),
    ("{} >= {}", &[Decimal, Decimal]),
    ("{} = {}", &[Decimal, Int]),
    ("{} > {}", &[Int, Decimal]),
    ("{} = {}", &[Int, Int]),
    ("{} <= {}", &[Int, Int]),
    ("{} < {}", &[Double, Double]),
    ("{} = {}", &[Double, Double]),
    ("{} >= {}", &[Double, Decimal]),
    ("{} > {}", &[Int, Double]),
    ("{} <> {}", &[Double, Int]),
    ("{} = {}", &[Text, Text]),
    ("{} < {}", &[Text, Text]),
    ("{} <> {}", &[Text, Text]),
    ("{} < {}", &[Date, Date]),
    ("{} = {}", &[Date, Date]),
    ("{} >= {}", &[Date, Timestamp]),
    ("{} < {}", &[Timestamp, Date]),
    ("{} <= {}", &[Timestamp, Timestamp]),
    ("{} = {}", &[Timestamp, Timestamp]),
    ("{} = {}", &[Bool, Bool]),
    ("{} IS NULL", &[Decimal]),
    ("{} IS NOT NULL", &[Text]),
    ("{} IS NULL", &[Timestamp]),
    ("{} IS TRUE", &[Bool]),
    ("{} IS NOT TRUE", &[Bool]),
    ("{} IS FALSE", &[Bool]),
    ("{} IS NOT FALSE", &[Bool]),
    ("{} IS UNKNOWN", &[Bool]),
    ("{} IS NOT UNKNOWN", &[Bool]),
    ("{} IS DISTINCT FROM {}", &[Decimal, Decimal]),
    ("{} IS NOT DISTINCT FROM {}", &[Text, Text]),
    ("{} IS NOT DISTINCT FROM {}", &[Bool, Bool]),
    ("{} IS DISTINCT FROM {}", &[Double, Decimal]),
    ("{} BETWEEN {} AND {}", &[Decimal, Decimal, Decimal]),
    ("{} NOT BETWEEN {} AND {}", &[Int, Int, Decimal]),
    ("{} BETWEEN {} AND {}", &[Timestamp, Date, Timestamp]),
    ("{} BETWEEN {} AND {}", &[Double, Decimal, Double]),
    ("{} IN ({}, {})", &[Decimal, Decimal, Int]),
    ("{} NOT IN ({}, {}, {})", &[Text, Text, Text, Text]),
    ("{} IN ({}, {}, NULL)", &[Int, Int, Int]),
    ("{} IN ({}, {})", &[Date, Date, Date]),
    ("{} LIKE '%o%'", &[Text]),
    ("{} LIKE 'o-_'", &[Text]),
    ("{} NOT LIKE '%\\%%'", &[Text]),
    ("{} ILIKE 'O-%'", &[Text]),
    ("{} LIKE {}", &[Text, Text]),
    ("{} SIMILAR TO 'o-[0-9]+'", &[Text]),
    ("{} SIMILAR TO '(a|b)%'", &[Text]),
    ("{} NOT SIMILAR TO '_.'", &[Text]),
    ("{} ~ '.*'", &[Text]),
    ("{} ~ '^o-[0-9]+$'", &[Text]),
    ("{} ~* 'O-1|B'", &[Text]),
    ("{} !~ '[[:digit:]]'", &[Text]),
    ("{} !~* '^X'", &[Text]),
    ("regexp_like({}, '[A-Z]{2}')", &[Text]),
    ("starts_with({}, {})", &[Text, Text]),
    ("{} - {} > INTERVAL '1 day 2 hours'", &[Timestamp, Timestamp]),
    ("{} - {} <= INTERVAL '400 days'", &[Timestamp, Date]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Bool, Bool]),
    ("coalesce({}, {})", &[Bool, Bool]),
    ("CAST({} AS BOOLEAN)", &[Int]),
    ("{} = {}", &[List, List]),
    ("{} @> {}", &[List, List]),
    ("{} IN (0.1, 0.5, 16777216)", &[Double]),
    ("{} IN (0.5, {}, 2)", &[Double, Decimal]),
    ("CAST({} AS BOOLEAN)", &[Text]),
    ("{} > '2025-12-31'", &[Date]),
    ("{} <= '2026-01-05 00:10:00'", &[Timestamp]),
    ("{} = '12.5'", &[Decimal]),
    ("{} = '12'", &[Int]),
];

const INTS: &[Template] = &[
    ("{} + {}", &[Int, Int]),
    ("{} - {}", &[Int, Int]),
    ("{} * {}", &[Int, Int]),
    ("{} / {}", &[Int, Int]),
    ("{} % {}", &[Int, Int]),
    ("- {}", &[Int]),
    ("abs({})", &[Int]),
    ("mod({}, {})", &[Int, Int]),
    ("{} - {}", &[Date, Date]),
    ("length({})", &[Text]),
    ("octet_length({})", &[Text]),
    ("strpos({}, {})", &[Text, Text]),
    ("position({} IN {})", &[Text, Text]),
    ("ascii({})", &[Text]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Int, Int]),
    ("CASE {} WHEN 1 THEN {} WHEN 2 THEN {} END", &[Int, Int, Int]),
    ("coalesce({}, {}, 0)", &[Int, Int]),
    ("nullif({}, {})", &[Int, Int]),
    ("greatest({}, {}, {})", &[Int, Int, Int]),
    ("least({}, {})", &[Int, Int]),
    ("cardinality({})", &[List]),
    ("array_length({}, 1)", &[List]),
    ("CAST({} AS INT)", &[Int]),
    ("CAST({} AS SMALLINT)", &[Int]),
    ("CAST({} AS BIGINT)", &[Int]),
    ("CAST({} AS INT)", &[Bool]),
    ("CAST({} AS INT)", &[Text]),
    ("CAST({} AS BIGINT)", &[Text]),
    ("array_position({}, {})", &[List, Text]),
    ("char_length({})", &[Text]),
];

const DECIMALS: &[Template] = &[
    ("{} + {}", &[Decimal, Decimal]),
    ("{} - {}", &[Decimal, Decimal]),
    ("{} * {}", &[Decimal, Decimal]),
    ("{} * {}", &[Decimal, Int]),
    ("{} + {}", &[Int, Decimal]),
    ("{} * 1.19", &[Decimal]),
    ("{} * 2", &[Decimal]),
    ("{} % {}", &[Decimal, Decimal]),
    ("round({} / {}, 2)", &[Decimal, Decimal]),
    ("round({} / {}, 4)", &[Decimal, Int]),
    ("round({} * 1.19, 2)", &[Decimal]),
    ("round({})", &[Decimal]),
    ("round({}, 1)", &[Decimal]),
    ("round({}, -1)", &[Decimal]),
    ("floor({})", &[Decimal]),
    ("ceil({})", &[Decimal]),
    ("ceiling({})", &[Decimal]),
    ("trunc({})", &[Decimal]),
    ("trunc({}, 1)", &[Decimal]),
    ("abs({})", &[Decimal]),
    ("sign({})", &[Decimal]),
    ("- {}", &[Decimal]),
    ("mod({}, {})", &[Decimal, Int]),
    ("CASE WHEN {} THEN {} ELSE 0 END", &[Bool, Decimal]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Decimal, Int]),
    ("coalesce({}, {})", &[Decimal, Int]),
    ("coalesce({}, {}, 0.5)", &[Decimal, Decimal]),
    ("nullif({}, {})", &[Decimal, Int]),
    ("greatest({}, {})", &[Decimal, Int]),
    ("least({}, {}, 1.5)", &[Decimal, Decimal]),
    ("CAST({} AS DECIMAL(18, 2))", &[Decimal]),
    ("CAST({} AS DECIMAL(10, 4))", &[Double]),
    ("CAST({} AS DECIMAL(5, 1))", &[Int]),
    ("CAST({} AS DECIMAL(18, 2))", &[Text]),
    ("EXTRACT(YEAR FROM {})", &[Timestamp]),
    ("EXTRACT(MONTH FROM {})", &[Date]),
    ("EXTRACT(DAY FROM {})", &[Timestamp]),
    ("EXTRACT(HOUR FROM {})", &[Timestamp]),
    ("EXTRACT(MINUTE FROM {})", &[Timestamp]),
    ("EXTRACT(SECOND FROM {})", &[Timestamp]),
    ("EXTRACT(EPOCH FROM {})", &[Timestamp]),
    ("EXTRACT(DOW FROM {})", &[Timestamp]),
    ("EXTRACT(ISODOW FROM {})", &[Date]),
    ("EXTRACT(DOY FROM {})", &[Timestamp]),
    ("EXTRACT(WEEK FROM {})", &[Timestamp]),
    ("EXTRACT(QUARTER FROM {})", &[Date]),
    ("EXTRACT(CENTURY FROM {})", &[Timestamp]),
    ("EXTRACT(MILLISECONDS FROM {})", &[Timestamp]),
    ("EXTRACT(EPOCH FROM {} - {})", &[Timestamp, Timestamp]),
    ("EXTRACT(DAY FROM {} - {})", &[Timestamp, Timestamp]),
    ("EXTRACT(HOUR FROM {} - {})", &[Timestamp, Timestamp]),
    ("EXTRACT(SECOND FROM {} - {})", &[Timestamp, Timestamp]),
    ("EXTRACT(ISOYEAR FROM {})", &[Date]),
    ("EXTRACT(DECADE FROM {})", &[Timestamp]),
    ("EXTRACT(MILLENNIUM FROM {})", &[Timestamp]),
    ("EXTRACT(MICROSECONDS FROM {})", &[Timestamp]),
    ("CASE {} WHEN 'a' THEN {} WHEN 'b' THEN {} ELSE 0.5 END", &[Text, Decimal, Int]),
    ("trunc({}, -2)", &[Decimal]),
    ("round({}, {})", &[Decimal, Int]),
];

const DOUBLES: &[Template] = &[
    ("{} + {}", &[Double, Double]),
    ("{} - {}", &[Double, Decimal]),
    ("{} * {}", &[Double, Double]),
    ("{} * {}", &[Int, Double]),
    ("{} / {}", &[Double, Double]),
    ("{} / {}", &[Double, Decimal]),
    ("- {}", &[Double]),
    ("abs({})", &[Double]),
    ("round({})", &[Double]),
    ("floor({})", &[Double]),
    ("ceil({})", &[Double]),
    ("trunc({})", &[Double]),
    ("sign({})", &[Double]),
    ("round({})", &[Int]),
    ("sqrt({})", &[Double]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Double, Int]),
    ("coalesce({}, {})", &[Double, Decimal]),
    ("greatest({}, {})", &[Double, Int]),
    ("nullif({}, {})", &[Double, Double]),
    ("CAST({} AS DOUBLE PRECISION)", &[Decimal]),
    ("CAST({} AS DOUBLE PRECISION)", &[Text]),
    ("date_part('year', {})", &[Timestamp]),
    ("date_part('second', {})", &[Timestamp]),
    ("power({}, 2)", &[Double]),
    ("exp({})", &[Double]),
    ("ln({})", &[Double]),
    ("CAST({} AS REAL)", &[Double]),
    ("CAST({} AS REAL)", &[Decimal]),
    ("CAST({} AS DOUBLE PRECISION)", &[Int]),
];

const TEXTS: &[Template] = &[
    ("{} || {}", &[Text, Text]),
    ("{} || {}", &[Text, Int]),
    ("{} || {}", &[Decimal, Text]),
    ("lower({})", &[Text]),
    ("upper({})", &[Text]),
    ("initcap({})", &[Text]),
    ("trim({})", &[Text]),
    ("btrim({}, 'o-')", &[Text]),
    ("ltrim({}, {})", &[Text, Text]),
    ("rtrim({})", &[Text]),
    ("substr({}, {})", &[Text, Int]),
    ("substring({} FROM 2 FOR 2)", &[Text]),
    ("left({}, 2)", &[Text]),
    ("left({}, -1)", &[Text]),
    ("right({}, 2)", &[Text]),
    ("lpad({}, 5, '0')", &[Text]),
    ("rpad({}, 4)", &[Text]),
    ("replace({}, 'o', {})", &[Text, Text]),
    ("concat({}, {}, {})", &[Text, Int, Bool]),
    ("concat_ws('-', {}, {})", &[Text, Text]),
    ("reverse({})", &[Text]),
    ("repeat({}, 2)", &[Text]),
    ("split_part({}, '-', 1)", &[Text]),
    ("split_part({}, {}, -1)", &[Text, Text]),
    ("translate({}, 'ox', 'u')", &[Text]),
    ("regexp_replace({}, '[^0-9]', '', 'g')", &[Text]),
    ("CASE WHEN {} THEN {} ELSE 'none' END", &[Bool, Text]),
    ("coalesce({}, {})", &[Text, Text]),
    ("nullif({}, 'x')", &[Text]),
    ("CAST({} AS VARCHAR)", &[Int]),
    ("CAST({} AS VARCHAR)", &[Decimal]),
    ("CAST({} AS VARCHAR)", &[Double]),
    ("CAST({} AS VARCHAR)", &[Bool]),
    ("CAST({} AS VARCHAR)", &[Date]),
    ("CAST({} AS VARCHAR)", &[Timestamp]),
    ("array_to_string({}, '+')", &[List]),
    ("array_to_string({}, '+', '?')", &[List]),
    ("chr({})", &[Int]),
    ("substr({}, 2, 3)", &[Text]),
    ("right({}, -1)", &[Text]),
    ("rpad({}, 3, '')", &[Text]),
    ("encode(decode('6f2d31', 'hex'), 'base64') || {}", &[Text]),
    ("trim(BOTH 'x' FROM {})", &[Text]),
];

const DATES: &[Template] = &[
    ("{} + 7", &[Date]),
    ("{} - {}", &[Date, Int]),
    ("CAST({} AS DATE)", &[Timestamp]),
    ("CAST(note AS DATE)", &[]),
    ("CAST(wanted AS DATE)", &[]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Date, Date]),
    ("coalesce({}, {})", &[Date, Date]),
    ("greatest({}, {})", &[Date, Date]),
    ("make_date({}, 2, 28)", &[Int]),
];

const TIMESTAMPS: &[Template] = &[
    ("{} + INTERVAL '5 minutes'", &[Timestamp]),
    ("{} - INTERVAL '1 month'", &[Timestamp]),
    ("{} + INTERVAL '1 year 2 days'", &[Timestamp]),
    ("{} + INTERVAL '1 day'", &[Date]),
    ("date_trunc('hour', {})", &[Timestamp]),
    ("date_trunc('day', {})", &[Timestamp]),
    ("date_trunc('week', {})", &[Timestamp]),
    ("date_trunc('month', {})", &[Timestamp]),
    ("date_trunc('year', {})", &[Timestamp]),
    ("CAST({} AS TIMESTAMP)", &[Date]),
    ("CAST({} AS TIMESTAMP(0))", &[Timestamp]),
    ("CAST({} AS TIMESTAMP(3))", &[Timestamp]),
    ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Timestamp, Timestamp]),
    ("coalesce({}, {})", &[Timestamp, Timestamp]),
    ("greatest({}, {})", &[Timestamp, Date]),
    ("date_trunc('second', {})", &[Timestamp]),
    ("date_trunc('quarter', {})", &[Timestamp]),
    ("date_trunc('century', {})", &[Timestamp]),
    ("date_bin(INTERVAL '15 minutes', {}, TIMESTAMP '0001-01-01 00:00:00')", &[Timestamp]),
    ("CAST(note AS TIMESTAMP)", &[]),
    ("{} - INTERVAL '36 hours'", &[Date]),
];

const LISTS: &[Template] =
    &[("string_to_array({}, ',')", &[Text]), ("string_to_array({}, ',', 'b')", &[Text])];

/// What PostgreSQL says otherwise: ours, theirs, the kinds of the arguments, the kind of the result.
const TRANSLATED: &[(&str, &str, &[Kind], Kind)] = &[
    ("CAST({0} AS INT)", "CAST(trunc({0}) AS INT)", &[Decimal], Int),
    ("CAST({0} AS BIGINT)", "CAST(trunc({0}) AS BIGINT)", &[Decimal], Int),
    ("CAST({0} AS INT)", "CAST(trunc({0}) AS INT)", &[Double], Int),
    ("TRY_CAST({0} AS INT)", "try_int(({0})::text)", &[Int], Int),
    ("TRY_CAST({0} AS SMALLINT)", "try_smallint(trunc({0})::text)", &[Decimal], Int),
    ("TRY_CAST({0} AS INT)", "try_int({0})", &[Text], Int),
    ("TRY_CAST({0} AS DECIMAL(4, 1))", "try_decimal(({0})::text)", &[Decimal], Decimal),
    ("TRY_CAST({0} AS DECIMAL(4, 1))", "try_decimal({0})", &[Text], Decimal),
    ("array_has({0}, {1})", "({1} = ANY ({0}))", &[List, Text], Bool),
    ("array_has_all({0}, {1})", "({0} @> {1})", &[List, List], Bool),
    ("array_has_any({0}, {1})", "({0} && {1})", &[List, List], Bool),
    ("({0})[1]", "({0})[1]", &[List], Text),
    ("({0})[{1}]", "({0})[{1}]", &[List, Int], Text),
    ("contains({0}, {1})", "(position({1} IN {0}) > 0)", &[Text, Text], Bool),
    ("to_timestamp_seconds({0})", "(to_timestamp({0}) AT TIME ZONE 'UTC')", &[Int], Timestamp),
    ("ends_with({0}, {1})", "(right({0}, length({1})) = {1})", &[Text, Text], Bool),
];

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.random.random_range(0..from.len())]
    }

    /// One expression of a random kind.
    pub fn expression(&mut self) -> Expression {
        let kinds = [Bool, Bool, Bool, Bool, Int, Decimal, Decimal, Double, Text, Date, Timestamp, List];
        let kind = kinds[self.random.random_range(0..kinds.len())];
        let depth = self.random.random_range(1..4);
        let (ours, theirs) = self.call(kind, depth);
        Expression { kind, ours, theirs }
    }

    /// An expression of `kind` in both dialects, in parentheses where it is no name.
    fn of(&mut self, kind: Kind, depth: u32) -> (String, String) {
        if depth == 0 || self.random.random_range(0..8) == 0 {
            let leaf = self.leaf(kind);
            return (leaf.clone(), leaf);
        }
        self.call(kind, depth)
    }

    /// A call or an operator, in parentheses.
    fn call(&mut self, kind: Kind, depth: u32) -> (String, String) {
        let translated: Vec<usize> = (0..TRANSLATED.len()).filter(|&at| TRANSLATED[at].3 == kind).collect();
        let templates = match kind {
            Bool => BOOLS,
            Int => INTS,
            Decimal => DECIMALS,
            Double => DOUBLES,
            Text => TEXTS,
            Date => DATES,
            Timestamp => TIMESTAMPS,
            List => LISTS,
        };
        let at = self.random.random_range(0..templates.len() + translated.len());
        if let Some(&at) = at.checked_sub(templates.len()).and_then(|at| translated.get(at)) {
            let (ours, theirs, kinds, _) = TRANSLATED[at];
            let (mut ours, mut theirs) = (ours.to_owned(), theirs.to_owned());
            for (number, kind) in kinds.iter().enumerate() {
                let (one, other) = self.of(*kind, depth - 1);
                ours = ours.replace(&format!("{{{number}}}"), &one);
                theirs = theirs.replace(&format!("{{{number}}}"), &other);
            }
            return (ours, theirs);
        }
        let (template, kinds) = templates[at];
        let (mut ours, mut theirs) = (template.to_owned(), template.to_owned());
        for kind in kinds {
            let (one, other) = self.of(*kind, depth - 1);
            ours = ours.replacen("{}", &one, 1);
            theirs = theirs.replacen("{}", &other, 1);
        }
        (format!("({ours})"), format!("({theirs})"))
    }

    fn leaf(&mut self, kind: Kind) -> String {
        let of: &[&str] = match kind {
            Bool => &["flag", "flag", "TRUE", "FALSE", "NULL"],
            Int => &["qty", "whole", "whole", "short", "0", "1", "2", "7", "-3", "3000000000"],
            Decimal => &[
                "amount", "amount", "fine", "small", "medium", "wide", "wider", "0.5", "12.40", "1.19",
                "0.00", "100.001",
            ],
            Double => {
                &["dbl", "dbl", "rl", "CAST(0.1 AS DOUBLE PRECISION)", "CAST(amount AS DOUBLE PRECISION)"]
            }
            Text => &["note", "tags", "wanted", "'o-1'", "'b'", "''", "'Straße 50%'"],
            Date => &["day", "due", "DATE '2026-01-31'", "DATE '9999-12-31'"],
            Timestamp => &["at", "other", "sec", "ms", "us", "TIMESTAMP '2026-01-05 00:10:00.25'"],
            List => &["string_to_array(tags, ',')", "string_to_array(wanted, ',')"],
        };
        self.pick(of).to_owned()
    }

    /// Values of all columns but `id`, in the order of [`SCHEMA`], as both read them in quotes; `None` is NULL.
    pub fn row(&mut self) -> Vec<Option<&'static str>> {
        let columns: [&[&'static str]; 22] = [
            &[
                "2026-01-05T00:10:00.25Z",
                "2026-01-31T23:59:59.999999Z",
                "2024-02-29T12:00:00Z",
                "1999-12-31T23:59:59Z",
            ],
            &[
                "12.50",
                "0.00",
                "-0.01",
                "1.23",
                "9999999999999999.99",
                "100.00",
                "2.50",
                "-2.50",
                "0.50",
                "12.40",
            ],
            &["1.2345", "0.0050", "-0.0050", "9999999999999999.9999", "12.5000", "1.2300", "2.5000"],
            &["9.9", "-9.9", "0.0", "0.5", "-0.5", "1.5"],
            &["999.9", "-999.9", "0.0", "99.5", "0.4"],
            &["3000000000", "0", "1", "-1", "9223372036854775807", "-9223372036854775808", "12", "2"],
            &["0", "1", "2", "-7", "2147483647", "-2147483648", "12"],
            &["0", "1", "32767", "-32768", "7"],
            &[
                "0",
                "1e-16",
                "2e15",
                "-0.0",
                "0.1",
                "0.5",
                "1.5",
                "2.5",
                "-2.5",
                "1e300",
                "123456789.125",
                "1e-300",
            ],
            &["0", "0.1", "1.5", "-2.5", "16777216", "0.333"],
            &["true", "false"],
            &["2026-01-05", "0001-01-01", "9999-12-31", "2024-02-29", "2026-01-31"],
            &["9999-12-31", "2026-01-05", "2025-12-31"],
            &[
                "o-1",
                "x-o-1-y",
                "A",
                "B",
                "C",
                "",
                "12",
                "12.5",
                "50%",
                "  o ",
                "Straße",
                "2026-01-05",
                "1e3",
                "äöü",
                "o-\n1",
            ],
            &["a,b", "b", "", "a,,b", "A,o-1", "x"],
            &["a", "a,b", "b,b", "", "c", "o-1"],
            &["2026-01-05T00:10:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"],
            &[
                "2026-01-05T00:10:00.25Z",
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999Z",
                "2026-01-31T10:00:00.5Z",
            ],
            &[
                "2026-01-05T00:10:00.25Z",
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999999Z",
                "2024-03-31T10:00:00.000001Z",
            ],
            &[
                "2026-01-05T00:15:00Z",
                "2025-12-31T23:59:59.5Z",
                "1700-01-01T00:00:00Z",
                "2250-12-31T00:00:00Z",
            ],
            &["1234567890123456789012345678.0123456789", "-0.0000000001", "0.0000000000", "2.5000000000"],
            &["999999999999999999999999999999999999.99", "-1.00", "0.01", "12.50"],
        ];
        columns
            .iter()
            .enumerate()
            .map(|(column, values)| {
                let is_null = column > 0 && self.random.random_range(0..6) == 0;
                let value = values[self.random.random_range(0..values.len())];
                (!is_null).then_some(value)
            })
            .collect()
    }
}

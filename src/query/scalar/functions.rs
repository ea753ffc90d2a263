//! The functions of SQL files, by name: PostgreSQL's, with its results, and a few of DataFusion's for lists.
//!
//! A name that is not here is refused when the program is planned: its result is not known to be PostgreSQL's.

use arrow::datatypes::TimeUnit;
use datafusion::logical_expr::Operator;

use super::arithmetic::arithmetic;
use super::coerce::{coerce, coerce_number, common_of, compare, literal_text};
use super::fault::Fault;
use super::node::{Comparison, Kind, Node, Now};
use super::numeric::{Numeric, Rounding};
use super::pattern;
use super::refusal::{Refusal, refuse};
use super::time::{self, Field};
use super::types::{Digits, SqlType};
use super::value::{Value, float, int};
use super::{list, text};
use crate::clock::nanos_per;
use crate::query::other_functions::advice;

/// The functions that a name stands for, for the planner that resolves names; aliases in one group.
pub(crate) const NAMES: &[&[&str]] = &[
    &["abs"],
    &["ceil", "ceiling"],
    &["floor"],
    &["round"],
    &["trunc"],
    &["sign", "signum"],
    &["mod"],
    &["power", "pow"],
    &["sqrt"],
    &["exp"],
    &["ln"],
    &["greatest"],
    &["least"],
    &["nullif"],
    &["coalesce", "ifnull", "nvl"],
    &["lower"],
    &["upper"],
    &["btrim", "trim"],
    &["ltrim"],
    &["rtrim"],
    &["length", "char_length", "character_length"],
    &["octet_length"],
    &["substr", "substring"],
    &["left"],
    &["right"],
    &["lpad"],
    &["rpad"],
    &["replace"],
    &["concat"],
    &["concat_ws"],
    &["strpos", "position"],
    &["starts_with"],
    &["ends_with"],
    &["contains"],
    &["reverse"],
    &["repeat"],
    &["split_part"],
    &["translate"],
    &["initcap"],
    &["ascii"],
    &["chr"],
    &["encode"],
    &["decode"],
    &["regexp_like"],
    &["regexp_replace"],
    &["date_part", "datepart"],
    &["extract"],
    &["date_trunc", "datetrunc"],
    &["date_bin"],
    &["make_date"],
    &["to_timestamp_seconds"],
    &["to_timestamp_millis"],
    &["to_timestamp_micros"],
    &["to_timestamp_nanos"],
    &["make_array", "make_list"],
    &["string_to_array", "string_to_list"],
    &["array_to_string", "list_to_string", "array_join", "list_join"],
    &["array_length", "list_length"],
    &["cardinality"],
    &["array_has", "list_has", "array_contains", "list_contains"],
    &["array_has_all", "list_has_all"],
    &["array_has_any", "list_has_any", "arrays_overlap"],
    &["array_element", "array_extract", "list_element", "list_extract"],
    &["array_position", "list_position", "array_indexof", "list_indexof"],
    &["get_field"],
    &["named_struct"],
    &["struct", "row"],
];

/// The functions that give the batch time.
pub(crate) const NOW: &[&str] = &["now", "current_timestamp", "current_date", "today"];

/// A call of `name`; the arguments are resolved.
pub(crate) fn call(name: &str, arguments: Vec<Node>, now: &Now) -> Result<Node, Refusal> {
    let lower = name.to_lowercase();
    let known = NAMES.iter().find(|group| group.contains(&lower.as_str())).map(|group| group[0]);
    let Some(function) = known else {
        return match lower.as_str() {
            name if NOW.contains(&name) && !arguments.is_empty() => Err(wrong_count(name, arguments.len())),
            "now" | "current_timestamp" => Ok(now_node(now)),
            "current_date" | "today" => coerce(now_node(now), &SqlType::Date),
            _ => Err(unknown(&lower)),
        };
    };
    let num_arguments = arguments.len();
    let mut given = arguments.into_iter();
    let mut next = || given.next().ok_or_else(|| wrong_count(&lower, num_arguments));
    let node = match (function, num_arguments) {
        ("abs", 1) => absolute(next()?)?,
        ("ceil", 1) => to_whole(&lower, next()?, Rounding::Ceiling, f64::ceil)?,
        ("floor", 1) => to_whole(&lower, next()?, Rounding::Floor, f64::floor)?,
        // rint: a half goes to the even number, as PostgreSQL has it for double precision.
        ("round", 1) => to_whole(&lower, next()?, Rounding::HalfAwayFromZero, f64::round_ties_even)?,
        ("trunc", 1) => to_whole(&lower, next()?, Rounding::Truncate, f64::trunc)?,
        ("round", 2) => to_places(&lower, next()?, next()?, Rounding::HalfAwayFromZero)?,
        ("trunc", 2) => to_places(&lower, next()?, next()?, Rounding::Truncate)?,
        ("sign", 1) => sign(next()?)?,
        ("mod", 2) => arithmetic(next()?, Operator::Modulo, next()?)?,
        ("power", 2) => {
            let (base, exponent) = (next()?, next()?);
            let both = vec![doubles_only(&lower, base)?, doubles_only(&lower, exponent)?];
            Node::strict(SqlType::Double, both, |values| {
                power(float(&values[0]), float(&values[1])).map(Value::Double)
            })
        }
        ("sqrt", 1) => of_double(doubles_only(&lower, next()?)?, |value| {
            if value < 0.0 {
                Err(Fault::new("cannot take square root of a negative number"))
            } else {
                Ok(value.sqrt())
            }
        })?,
        ("ln", 1) => of_double(doubles_only(&lower, next()?)?, |value| match value {
            0.0 => Err(Fault::new("cannot take logarithm of zero")),
            value if value < 0.0 => Err(Fault::new("cannot take logarithm of a negative number")),
            value => Ok(value.ln()),
        })?,
        ("exp", 1) => of_double(doubles_only(&lower, next()?)?, |value| match value.exp() {
            result if result.is_infinite() && value.is_finite() => {
                Err(Fault::new("value out of range: overflow"))
            }
            result if result == 0.0 && value.is_finite() => Err(Fault::new("value out of range: underflow")),
            result => Ok(result),
        })?,
        ("greatest", 1..) => extreme(given.collect(), Comparison::Greater)?,
        ("least", 1..) => extreme(given.collect(), Comparison::Less)?,
        ("nullif", 2) => {
            let (value, other) = (next()?, next()?);
            // The result has the type of the first argument.
            let (value, other) = match (&value.sql_type, &other.sql_type) {
                (SqlType::Unknown, known) if *known != SqlType::Unknown => {
                    (coerce(value, &known.clone())?, other)
                }
                (SqlType::Unknown, _) => (coerce(value, &SqlType::Text)?, other),
                _ => (value, other),
            };
            let equal = compare(value.clone(), Comparison::Equal, other)?;
            let sql_type = value.sql_type.clone();
            let null = Node::literal(Value::Null, sql_type.clone());
            Node { kind: Kind::Case(vec![(equal, null)], Some(Box::new(value))), sql_type, nullable: true }
        }
        ("coalesce", 1..) => {
            let (terms, sql_type) = common_of(given.collect(), "COALESCE")?;
            let nullable = terms.iter().all(|term| term.nullable);
            Node { kind: Kind::Coalesce(terms), sql_type, nullable }
        }
        ("lower", 1) => text::of_text(next()?, |text| Ok(text::lower(text)))?,
        ("upper", 1) => text::of_text(next()?, |text| Ok(text::upper(text)))?,
        ("initcap", 1) => text::of_text(next()?, |text| Ok(text::initcap(text)))?,
        ("reverse", 1) => text::of_text(next()?, |text| Ok(text.chars().rev().collect()))?,
        ("btrim", 1..=2) => text::trim(given.collect(), true, true)?,
        ("ltrim", 1..=2) => text::trim(given.collect(), true, false)?,
        ("rtrim", 1..=2) => text::trim(given.collect(), false, true)?,
        ("length", 1) => text::length(next()?)?,
        ("octet_length", 1) => text::octet_length(next()?)?,
        ("substr", 2..=3) => text::substring(given.collect())?,
        ("left", 2) => text::left(next()?, next()?)?,
        ("right", 2) => text::right(next()?, next()?)?,
        ("lpad", 2..=3) => text::pad(given.collect(), text::Padding::Left)?,
        ("rpad", 2..=3) => text::pad(given.collect(), text::Padding::Right)?,
        ("replace", 3) => text::replace(given.collect())?,
        ("translate", 3) => text::translate(given.collect())?,
        ("concat", 1..) => text::concat(given.collect())?,
        ("concat_ws", 2..) => text::concat_with_separator(given.collect())?,
        ("strpos", 2) => text::position(next()?, next()?)?,
        ("starts_with", 2) => text::test(next()?, next()?, |text, part| text.starts_with(part))?,
        ("ends_with", 2) => text::test(next()?, next()?, |text, part| text.ends_with(part))?,
        ("contains", 2) => text::test(next()?, next()?, |text, part| text.contains(part))?,
        ("repeat", 2) => text::repeat(next()?, next()?)?,
        ("split_part", 3) => text::split_part(given.collect())?,
        ("ascii", 1) => text::ascii(next()?)?,
        ("chr", 1) => text::chr(next()?)?,
        ("encode", 2) => text::encode(next()?, next()?)?,
        ("decode", 2) => text::decode(next()?, next()?)?,
        ("regexp_like", 2..=3) => {
            let (value, pattern, flags) = (next()?, next()?, given.next());
            let ignore_case = match flags.as_ref().map(literal_text) {
                None => false,
                Some(Some(flags)) if flags.chars().all(|flag| flag == 'i') => true,
                Some(_) => return Err(refuse("regexp_like has flags other than 'i'").at("regexp_like")),
            };
            matches(value, &pattern, ignore_case, false)?
        }
        ("regexp_replace", 3..=4) => regexp_replace(given.collect())?,
        ("date_part" | "extract", 2) => {
            let field = field_of(&lower, &next()?)?;
            extract(field, next()?, function == "date_part")?
        }
        ("date_trunc", 2) => {
            let field = field_of(&lower, &next()?)?;
            date_trunc(field, next()?)?
        }
        ("date_bin", 3) => date_bin(next()?, next()?, next()?)?,
        ("make_date", 3) => {
            let parts = given
                .map(|part| coerce_number(&lower, part, &SqlType::Int(4)))
                .collect::<Result<Vec<_>, _>>()?;
            Node::strict(SqlType::Date, parts, |values| {
                let (year, month, day) = (int(&values[0]), int(&values[1]), int(&values[2]));
                // A negative year is one before Christ; there is no year 0.
                let given = year;
                let year = if year < 0 { year + 1 } else { year };
                let is_date = given != 0
                    && (-4712..=5_874_897).contains(&year)
                    && (1..=12).contains(&month)
                    && (1..=time::days_of_month(year, month)).contains(&day);
                match is_date {
                    true => Ok(Value::Date(time::days(year, month, day))),
                    false => {
                        Err(Fault::new(format!("date field value out of range: {given}-{month:02}-{day:02}")))
                    }
                }
            })
        }
        ("to_timestamp_seconds", 1) => from_count(&lower, next()?, TimeUnit::Second)?,
        ("to_timestamp_millis", 1) => from_count(&lower, next()?, TimeUnit::Millisecond)?,
        ("to_timestamp_micros", 1) => from_count(&lower, next()?, TimeUnit::Microsecond)?,
        ("to_timestamp_nanos", 1) => from_count(&lower, next()?, TimeUnit::Nanosecond)?,
        ("make_array", _) => list::make(given.collect())?,
        ("string_to_array", 2..=3) => list::from_text(given.collect())?,
        ("array_to_string", 2..=3) => list::to_text(given.collect())?,
        ("array_length", 1..=2) => list::length(next()?, given.next())?,
        ("cardinality", 1) => list::cardinality(next()?)?,
        ("array_has", 2) => list::has(next()?, next()?)?,
        ("array_has_all", 2) => list::has_all(next()?, next()?)?,
        ("array_has_any", 2) => list::has_any(next()?, next()?)?,
        ("array_element", 2) => list::element(next()?, next()?)?,
        ("array_position", 2) => list::position(next()?, next()?)?,
        ("get_field", 2) => list::field(next()?, &next()?)?,
        ("named_struct", 2..) => list::named_struct(given.collect())?,
        ("struct", 1..) => list::structure(given.collect()),
        _ => return Err(wrong_count(&lower, num_arguments)),
    };
    Ok(node)
}

fn now_node(now: &Now) -> Node {
    Node {
        kind: Kind::Now(now.clone()),
        sql_type: SqlType::Timestamp(TimeUnit::Microsecond),
        nullable: false,
    }
}

fn unknown(name: &str) -> Refusal {
    refuse(format!("{name} is no function whose result is known to be PostgreSQL's"))
        .at(name)
        .advise(advice(name))
}

fn wrong_count(name: &str, count: usize) -> Refusal {
    refuse(format!("{name} does not take {count} arguments")).at(name)
}

fn absolute(node: Node) -> Result<Node, Refusal> {
    Ok(match node.sql_type.clone() {
        SqlType::Int(width) => Node::strict(SqlType::Int(width), vec![node], move |values| {
            let value = int(&values[0]).checked_abs().and_then(|value| super::cast::fits(value, width));
            value.map(Value::Int).ok_or_else(|| super::cast::out_of_range(&SqlType::Int(width)))
        }),
        numeric @ SqlType::Numeric(_) => {
            Node::strict(numeric, vec![node], |values| Ok(Value::Numeric(values[0].numeric().abs())))
        }
        SqlType::Real => {
            Node::strict(SqlType::Real, vec![node], |values| Ok(Value::Double(float(&values[0]).abs())))
        }
        _ => of_double(as_double("abs", node)?, |value| Ok(value.abs()))?,
    })
}

fn sign(node: Node) -> Result<Node, Refusal> {
    match node.sql_type.clone() {
        SqlType::Numeric(_) => {
            let one = SqlType::Numeric(Some(Digits { whole: 1, scale: 0 }));
            Ok(Node::strict(one, vec![node], |values| {
                let value = values[0].numeric();
                let sign = if value.is_zero() {
                    0
                } else if value.is_negative() {
                    -1
                } else {
                    1
                };
                Ok(Value::Numeric(Numeric::new(sign, 0)))
            }))
        }
        _ => of_double(as_double("sign", node)?, |value| {
            Ok(if value > 0.0 {
                1.0
            } else if value < 0.0 {
                -1.0
            } else {
                0.0
            })
        }),
    }
}

/// `round(x)` and its kin: DECIMAL stays exact, anything else is DOUBLE.
fn to_whole(name: &str, node: Node, rounding: Rounding, of_float: fn(f64) -> f64) -> Result<Node, Refusal> {
    match node.sql_type.clone() {
        SqlType::Numeric(digits) => {
            let longer = u32::from(rounding != Rounding::Truncate);
            let digits = digits.map(|digits| Digits { whole: digits.whole + longer, scale: 0 });
            Ok(Node::strict(SqlType::Numeric(digits), vec![node], move |values| {
                Ok(Value::Numeric(values[0].numeric().rescale(0, rounding)))
            }))
        }
        _ => of_double(as_double(name, node)?, move |value| Ok(of_float(value))),
    }
}

/// `round(x, places)`: of exact numbers only, as in PostgreSQL.
fn to_places(name: &str, node: Node, places: Node, rounding: Rounding) -> Result<Node, Refusal> {
    if !node.sql_type.is_exact() {
        return Err(refuse(format!("{name} to a number of places takes DECIMAL, not {}", node.sql_type))
            .at(name)
            .advise(format!("write {name}(CAST(… AS DECIMAL(18, 6)), …)")));
    }
    let places = coerce_number(name, places, &SqlType::Int(4))?;
    let digits = match (node.sql_type.digits(), places.as_literal()) {
        (Some(digits), Some(Value::Int(places))) => {
            let longer = u32::from(rounding != Rounding::Truncate);
            let scale = (*places).clamp(0, 16_383) as u32;
            Some(Digits { whole: digits.whole.max((-places).clamp(0, 1000) as u32) + longer, scale })
        }
        _ => None,
    };
    Ok(Node::strict(SqlType::Numeric(digits), vec![node, places], move |values| {
        Ok(Value::Numeric(values[0].numeric().round_to(int(&values[1]), rounding)))
    }))
}

/// A function of doubles.
fn of_double(
    node: Node,
    apply: impl Fn(f64) -> Result<f64, Fault> + Send + Sync + 'static,
) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Double, vec![node], move |values| apply(float(&values[0])).map(Value::Double)))
}

fn as_double(name: &str, node: Node) -> Result<Node, Refusal> {
    coerce_number(name, node, &SqlType::Double)
}

/// Roots and powers of DECIMAL have digits of their own in PostgreSQL; only those of DOUBLE are the same here.
fn doubles_only(name: &str, node: Node) -> Result<Node, Refusal> {
    if matches!(node.sql_type, SqlType::Numeric(_)) {
        return Err(refuse(format!("{name} takes DOUBLE, not {}", node.sql_type))
            .at(name)
            .advise("write CAST(… AS DOUBLE)"));
    }
    as_double(name, node)
}

fn power(base: f64, exponent: f64) -> Result<f64, Fault> {
    if base == 0.0 && exponent < 0.0 {
        return Err(Fault::new("zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.fract() != 0.0 {
        return Err(Fault::new("a negative number raised to a non-integer power yields a complex result"));
    }
    let result = base.powf(exponent);
    if result.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(Fault::new("value out of range: overflow"));
    }
    if result == 0.0 && base != 0.0 && base.is_finite() && exponent.is_finite() {
        return Err(Fault::new("value out of range: underflow"));
    }
    Ok(result)
}

/// `greatest` and `least`: NULLs do not count.
fn extreme(terms: Vec<Node>, wanted: Comparison) -> Result<Node, Refusal> {
    let (terms, sql_type) =
        common_of(terms, if wanted == Comparison::Greater { "greatest" } else { "least" })?;
    let nullable = terms.iter().all(|term| term.nullable);
    Ok(Node::seeing_nulls(sql_type, terms, nullable, move |values| {
        let mut best = Value::Null;
        for value in values {
            if best.is_null() || wanted.apply(value, &best) == Some(true) {
                best = value.clone();
            }
        }
        Ok(best)
    }))
}

/// `text ~ pattern`, and the like; the pattern is a literal, so that it is understood before anything runs.
pub(crate) fn matches(
    value: Node,
    pattern: &Node,
    ignore_case: bool,
    similar: bool,
) -> Result<Node, Refusal> {
    let value = text::text(value)?;
    if pattern.as_literal().is_some_and(Value::is_null) {
        return Ok(Node::literal(Value::Null, SqlType::Bool));
    }
    let Some(pattern) = literal_text(pattern) else {
        return Err(
            refuse("a pattern has to be a literal").advise("write text ~ '…' with the pattern itself")
        );
    };
    let regex = match similar {
        true => pattern::similar(pattern, Some('\\')),
        false => pattern::regex(pattern, ignore_case),
    };
    let regex = regex.map_err(|problem| {
        refuse(format!("the pattern '{pattern}' can't be used: {problem}"))
            .at(pattern)
            .advise("literals, ., [classes], anchors, (groups), |, ?, *, + and {m,n} mean what they mean in PostgreSQL")
    })?;
    Ok(Node::strict(SqlType::Bool, vec![value], move |values| match &values[0] {
        Value::Text(text) => Ok(Value::Bool(regex.is_match(text))),
        _ => Ok(Value::Null),
    }))
}

/// `regexp_replace(text, pattern, replacement[, flags])`: the first match, or all with 'g'.
fn regexp_replace(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let mut given = arguments.into_iter();
    let (Some(value), Some(pattern), Some(replacement)) = (given.next(), given.next(), given.next()) else {
        return Err(wrong_count("regexp_replace", 0));
    };
    let at = |refusal: Refusal| refusal.at("regexp_replace");
    let flags = match given.next() {
        None => String::new(),
        Some(flags) => literal_text(&flags).unwrap_or("?").to_owned(),
    };
    if !flags.chars().all(|flag| "gi".contains(flag)) {
        return Err(at(refuse("regexp_replace has flags other than 'g' and 'i'")));
    }
    let (Some(pattern), Some(replacement)) = (literal_text(&pattern), literal_text(&replacement)) else {
        return Err(at(refuse("pattern and replacement of regexp_replace have to be literals")));
    };
    if replacement.contains('\\') || !pattern::has_one_match(pattern) {
        return Err(at(refuse(format!("regexp_replace with '{pattern}' may replace other text than PostgreSQL does")))
            .advise("use one class of characters, as '[^0-9]' or ' +', and a replacement without \\; or replace(), split_part()"));
    }
    let regex = pattern::regex(pattern, flags.contains('i'))
        .map_err(|problem| at(refuse(format!("the pattern '{pattern}' can't be used: {problem}"))))?;
    let (replacement, all) = (replacement.to_owned(), flags.contains('g'));
    let value = text::text(value)?;
    Ok(Node::strict(SqlType::Text, vec![value], move |values| {
        let Value::Text(text) = &values[0] else { return Ok(Value::Null) };
        let literal = regex::NoExpand(&replacement);
        let replaced = if all { regex.replace_all(text, literal) } else { regex.replace(text, literal) };
        Ok(Value::text(replaced.into_owned()))
    }))
}

fn field_of(name: &str, node: &Node) -> Result<Field, Refusal> {
    let Some(text) = literal_text(node) else {
        return Err(refuse(format!("the field of {name} has to be a literal")).at(name));
    };
    Field::parse(text).ok_or_else(|| {
        refuse(format!("\"{text}\" is no field of {name}"))
            .at(text)
            .advise("year, quarter, month, week, day, hour, minute, second, milliseconds, microseconds, epoch, dow, doy …")
    })
}

/// EXTRACT gives an exact number, date_part the same as DOUBLE, as in PostgreSQL.
fn extract(field: Field, source: Node, as_double: bool) -> Result<Node, Refusal> {
    let source = match source.sql_type {
        SqlType::Unknown => {
            return Err(refuse("EXTRACT needs a time").advise("write TIMESTAMP '…' or DATE '…'"));
        }
        _ => source,
    };
    let scale_of = |fine: bool| {
        let scale = field.scale(fine);
        SqlType::Numeric(Some(Digits { whole: 20, scale }))
    };
    let node = match source.sql_type.clone() {
        SqlType::Date if !field.is_of_date() => {
            return Err(refuse("a DATE has no time to EXTRACT"));
        }
        SqlType::Date | SqlType::Timestamp(_) => {
            let fine = source.sql_type == SqlType::Timestamp(TimeUnit::Nanosecond);
            Node::strict(scale_of(fine), vec![source], move |values| {
                Ok(Value::Numeric(time::extract(field, values[0].nanos(), fine)))
            })
        }
        SqlType::Interval => {
            if time::extract_interval(field, &time::Interval::default()).is_none() {
                return Err(refuse("an INTERVAL has no such field"));
            }
            Node::strict(scale_of(false), vec![source], move |values| match &values[0] {
                Value::Interval(interval) => {
                    Ok(time::extract_interval(field, interval).map_or(Value::Null, Value::Numeric))
                }
                _ => Ok(Value::Null),
            })
        }
        other => return Err(refuse(format!("EXTRACT takes a DATE or TIMESTAMP, not {other}"))),
    };
    if as_double { coerce(node, &SqlType::Double) } else { Ok(node) }
}

fn date_trunc(field: Field, source: Node) -> Result<Node, Refusal> {
    if !field.can_truncate() {
        return Err(refuse("date_trunc can't cut to that field").at("date_trunc"));
    }
    let sql_type = match &source.sql_type {
        // What is cut to microseconds or more needs no finer unit, which would not reach as far back.
        SqlType::Timestamp(unit) => SqlType::Timestamp(*unit.min(&TimeUnit::Microsecond)),
        // PostgreSQL takes a date as its midnight.
        SqlType::Date => SqlType::Timestamp(TimeUnit::Microsecond),
        other => {
            return Err(refuse(format!("date_trunc takes a DATE or TIMESTAMP, not {other}")).at("date_trunc"));
        }
    };
    Ok(Node::strict(sql_type, vec![source], move |values| {
        Ok(Value::Timestamp(time::truncate(field, values[0].nanos())))
    }))
}

fn date_bin(stride: Node, source: Node, origin: Node) -> Result<Node, Refusal> {
    let at = |message: &str| refuse(message).at("date_bin");
    let unit = match (&source.sql_type, &origin.sql_type) {
        (SqlType::Timestamp(unit), SqlType::Timestamp(_) | SqlType::Date | SqlType::Unknown) => *unit,
        _ => return Err(at("date_bin takes an INTERVAL and two TIMESTAMPs")),
    };
    let origin = coerce(origin, &SqlType::Timestamp(TimeUnit::Nanosecond))?;
    let step = match stride.as_literal() {
        Some(Value::Interval(interval)) if interval.months == 0 && interval.span() > 0 => interval.span(),
        _ => return Err(at("the stride of date_bin is a positive INTERVAL without months")),
    };
    Ok(Node::strict(SqlType::Timestamp(unit), vec![source, origin], move |values| {
        let (source, origin) = (values[0].nanos(), values[1].nanos());
        Ok(Value::Timestamp(origin + (source - origin).div_euclid(step) * step))
    }))
}

fn from_count(name: &str, node: Node, unit: TimeUnit) -> Result<Node, Refusal> {
    let node = coerce_number(name, node, &SqlType::Int(8))?;
    Ok(Node::strict(SqlType::Timestamp(unit), vec![node], move |values| {
        time::in_range(i128::from(int(&values[0])) * nanos_per(unit)).map(Value::Timestamp)
    }))
}

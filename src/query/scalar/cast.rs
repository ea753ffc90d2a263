//! CAST: from one type to another, as PostgreSQL converts, but for a fraction to a whole number.
//!
//! `CAST(12.7 AS INT)` is 12 (PostgreSQL rounds, to 13): a number of pieces is never rounded up.
//! `sql/README.md` lists this among the differences on purpose.

use arrow::datatypes::TimeUnit;

use super::fault::Fault;
use super::numeric::Numeric;
use super::time::{self, NANOS_PER_DAY};
use super::types::{Digits, SqlType};
use super::value::{Outcome, Value};
use crate::clock::nanos_per;

/// What PostgreSQL's times count from: 2000-01-01.
const EPOCH_2000: i128 = 10_957 * NANOS_PER_DAY;

/// Whether PostgreSQL converts between the types when asked to.
pub(crate) fn is_allowed(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        (from, to) if from == to => true,
        (T::Unknown, _) => true,
        (T::Other(_) | T::Bytes | T::Struct(_), _) | (_, T::Other(_) | T::Bytes | T::Struct(_)) => false,
        (T::List(from), T::List(to)) => is_allowed(from, to),
        (T::List(_), _) | (_, T::List(_)) => false,
        (T::Interval, _) | (_, T::Interval) => false,
        (T::Text, _) | (_, T::Text) => true,
        (T::Bool, T::Int(4)) | (T::Int(4), T::Bool) => true,
        (T::Bool, _) | (_, T::Bool) => false,
        (from, to) if from.is_number() && to.is_number() => true,
        (from, to) => from.is_time() && to.is_time(),
    }
}

/// Whether a conversion drops a fraction, where PostgreSQL rounds.
pub(crate) fn drops_fraction(from: &SqlType, to: &SqlType) -> bool {
    let has_fraction = match from {
        SqlType::Real | SqlType::Double | SqlType::Numeric(None) => true,
        SqlType::Numeric(Some(digits)) => digits.scale > 0,
        _ => false,
    };
    has_fraction && matches!(to, SqlType::Int(_))
}

/// The value as one of `to`.
pub(crate) fn cast<'a>(value: Value<'a>, from: &SqlType, to: &SqlType) -> Outcome<'a> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match (value, to) {
        (Value::List(items), SqlType::List(item)) => {
            let from = match from {
                SqlType::List(from) => from.as_ref(),
                _ => &SqlType::Unknown,
            };
            Value::List(items.into_iter().map(|value| cast(value, from, item)).collect::<Result<_, _>>()?)
        }
        (Value::Text(text), SqlType::Text) => Value::Text(text),
        (Value::Text(text), _) => parse(&text, to)?,
        (value, SqlType::Text) => Value::text(to_text(&value, from)),
        (Value::Bool(value), SqlType::Int(_)) => Value::Int(i64::from(value)),
        (Value::Int(value), SqlType::Bool) => Value::Bool(value != 0),
        (value @ (Value::Int(_) | Value::Numeric(_)), SqlType::Int(width)) => {
            let whole = value.numeric().to_i64();
            Value::Int(
                whole
                    .and_then(|whole| fits(whole, *width))
                    .ok_or_else(|| out_of_range(&SqlType::Int(*width)))?,
            )
        }
        (value @ (Value::Int(_) | Value::Numeric(_)), SqlType::Numeric(digits)) => {
            Value::Numeric(hold(&value.numeric(), *digits)?)
        }
        (value @ (Value::Int(_) | Value::Numeric(_)), SqlType::Double) => Value::Double(double(&value)?),
        (value @ (Value::Int(_) | Value::Numeric(_)), SqlType::Real) => Value::Double(real(double(&value)?)?),
        (Value::Double(value), SqlType::Double) => Value::Double(value),
        (Value::Double(value), SqlType::Real) => Value::Double(real(value)?),
        (Value::Double(value), SqlType::Int(width)) => {
            let whole = value.trunc();
            // 2^63 itself is no BIGINT, and the next double below it is.
            let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole);
            let whole = in_range.then_some(whole as i64).and_then(|whole| fits(whole, *width));
            Value::Int(whole.ok_or_else(|| out_of_range(&SqlType::Int(*width)))?)
        }
        (Value::Double(value), SqlType::Numeric(digits)) => {
            let significant = if *from == SqlType::Real { 6 } else { 15 };
            let exact = Numeric::from_double(value, significant)
                .ok_or_else(|| Fault::new(format!("{} is no DECIMAL", format_double(value))))?;
            Value::Numeric(hold(&exact, *digits)?)
        }
        (value @ (Value::Date(_) | Value::Timestamp(_)), SqlType::Timestamp(unit)) => {
            Value::Timestamp(to_unit(time::in_range(value.nanos())?, *unit))
        }
        (value @ (Value::Date(_) | Value::Timestamp(_)), SqlType::Date) => {
            Value::Date(time::split(value.nanos()).0)
        }
        (value, _) => value,
    })
}

fn hold(value: &Numeric, digits: Option<Digits>) -> Result<Numeric, Fault> {
    match digits {
        Some(Digits { whole, scale }) => value.to_decimal(whole + scale, scale),
        None => Ok(value.clone()),
    }
}

/// The value, if it fits an integer of `width` bytes.
pub(crate) fn fits(value: i64, width: u8) -> Option<i64> {
    let is_in = match width {
        2 => i16::try_from(value).is_ok(),
        4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    is_in.then_some(value)
}

pub(crate) fn out_of_range(of: &SqlType) -> Fault {
    Fault::new(format!("{of} out of range"))
}

/// The nearest double of a number.
pub(crate) fn double(value: &Value<'_>) -> Result<f64, Fault> {
    let nearest = match value {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        other => other.numeric().to_double(),
    };
    match nearest.is_infinite() && !matches!(value, Value::Double(_)) {
        true => Err(out_of_range(&SqlType::Double)),
        false => Ok(nearest),
    }
}

fn real(value: f64) -> Result<f64, Fault> {
    let narrowed = value as f32;
    if narrowed.is_infinite() && value.is_finite() {
        return Err(Fault::new("value out of range: overflow"));
    }
    if narrowed == 0.0 && value != 0.0 {
        return Err(Fault::new("value out of range: underflow"));
    }
    Ok(f64::from(narrowed))
}

/// A time at the precision of `unit`, rounded to the nearest as PostgreSQL does.
fn to_unit(nanos: i128, unit: TimeUnit) -> i128 {
    let step = nanos_per(unit);
    let since = nanos - EPOCH_2000;
    let rounded = (since.abs() + step / 2) / step * step;
    EPOCH_2000 + if since < 0 { -rounded } else { rounded }
}

/// A text's fraction of a second in microseconds, a half to the even one, as PostgreSQL reads it.
fn to_even_micros(nanos: i128) -> i128 {
    let (micros, rest) = (nanos.div_euclid(1_000), nanos.rem_euclid(1_000));
    let up = rest > 500 || rest == 500 && micros % 2 != 0;
    (micros + i128::from(up)) * 1_000
}

/// A text as PostgreSQL reads it where the type is known.
pub(crate) fn parse(text: &str, to: &SqlType) -> Result<Value<'static>, Fault> {
    let invalid = || Fault::new(format!("invalid input for {to}: \"{text}\""));
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    Ok(match to {
        SqlType::Text | SqlType::Unknown => Value::text(text.to_owned()),
        SqlType::Bool => Value::Bool(parse_bool(trimmed).ok_or_else(invalid)?),
        SqlType::Int(width) => {
            let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            let value = trimmed.parse::<i64>().ok().and_then(|value| fits(value, *width));
            Value::Int(value.ok_or_else(|| out_of_range(to))?)
        }
        SqlType::Numeric(digits) => {
            Value::Numeric(hold(&Numeric::parse(trimmed).ok_or_else(invalid)?, *digits)?)
        }
        SqlType::Double | SqlType::Real => {
            let lower = trimmed.to_ascii_lowercase();
            let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
            let value: f64 = match unsigned {
                "nan" | "inf" | "infinity" => lower.parse().map_err(|_| invalid())?,
                _ if Numeric::parse(trimmed).is_some() => {
                    let value: f64 = lower.parse().map_err(|_| invalid())?;
                    let is_zero = !unsigned
                        .split('e')
                        .next()
                        .unwrap_or("")
                        .contains(|c: char| ('1'..='9').contains(&c));
                    if value.is_infinite() || (value == 0.0 && !is_zero) {
                        return Err(out_of_range(to));
                    }
                    value
                }
                _ => return Err(invalid()),
            };
            Value::Double(if *to == SqlType::Real { real(value)? } else { value })
        }
        SqlType::Date => Value::Date(time::split(parse_time(trimmed).ok_or_else(invalid)?).0),
        SqlType::Timestamp(TimeUnit::Nanosecond) => {
            Value::Timestamp(parse_time(trimmed).ok_or_else(invalid)?)
        }
        SqlType::Timestamp(unit) => {
            let micros = to_even_micros(parse_time(trimmed).ok_or_else(invalid)?);
            Value::Timestamp(to_unit(micros, *unit))
        }
        _ => return Err(invalid()),
    })
}

/// A type without time zone has no place for an offset, which PostgreSQL drops silently.
fn parse_time(text: &str) -> Option<i128> {
    time::parse_timestamp(text).filter(|(_, has_offset)| !has_offset).map(|(nanos, _)| nanos)
}

fn parse_bool(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if text == "1" || begins("true", 1) || begins("yes", 1) || text == "on" {
        return Some(true);
    }
    (text == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2)).then_some(false)
}

/// A value as PostgreSQL shows it.
pub(crate) fn to_text(value: &Value<'_>, from: &SqlType) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Numeric(value) => value.to_string(),
        Value::Double(value) if *from == SqlType::Real => format_real(*value as f32),
        Value::Double(value) => format_double(*value),
        Value::Text(text) => text.to_string(),
        Value::Date(days) => time::format_date(*days),
        Value::Timestamp(nanos) => time::format_timestamp(*nanos),
        // The planner lets no others through.
        Value::Bytes(_) | Value::Interval(_) | Value::List(_) | Value::Struct(_) => String::new(),
    }
}

/// The shortest digits that give the same double again.
fn format_double(value: f64) -> String {
    let shortest_digits = format!("{value:e}");
    let places = shortest_digits.trim_start_matches('-').find('e').map_or(0, |end| end.saturating_sub(2));
    let digits = if is_halfway(value, &shortest_digits) {
        // One more: PostgreSQL takes no text that lies between two numbers.
        format!("{value:.*e}", places + 1)
    } else if places > 0 {
        // Of two texts that are as near it takes the even one, as this does.
        let nearest = format!("{value:.places$e}");
        if nearest.parse() == Ok(value) { nearest } else { shortest_digits }
    } else {
        shortest_digits
    };
    shortest(value.is_finite(), value, &digits, 15)
}

/// Whether a text lies just between a large double and its neighbour; small ones have no text that short.
fn is_halfway(value: f64, text: &str) -> bool {
    if !value.is_finite() || value.abs() < 4_503_599_627_370_496.0 {
        return false;
    }
    let exact = |value: f64| Numeric::parse(&format!("{value:.0}"));
    let neighbours = [value.to_bits() - 1, value.to_bits() + 1].map(f64::from_bits);
    let (Some(given), Some(own)) = (Numeric::parse(text), exact(value)) else { return false };
    let twice = given.add(&given);
    neighbours.into_iter().filter_map(exact).any(|other| twice.compare(&own.add(&other)).is_eq())
}

fn format_real(value: f32) -> String {
    shortest(value.is_finite(), f64::from(value), &format!("{value:e}"), 6)
}

fn shortest(is_finite: bool, value: f64, scientific: &str, fixed_below: i32) -> String {
    if !is_finite {
        let text = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        return text.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..fixed_below).contains(&exponent) {
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
        let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
        let text = if exponent < 0 {
            format!("0.{}{digits}", "0".repeat(-exponent as usize - 1))
        } else {
            let whole = exponent as usize + 1;
            match digits.len() > whole {
                true => format!("{}.{}", &digits[..whole], &digits[whole..]),
                false => format!("{digits:0<whole$}"),
            }
        };
        return format!("{sign}{text}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_shown_as_postgresql_shows_them() {
        for (value, text) in [
            (0.1, "0.1"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e-5, "1e-05"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (70_463_847_150_941_264.0, "7.0463847150941264e+16"),
            (-70_463_847_150_941_264.0, "-7.0463847150941264e+16"),
            (2e15 + 0.25, "2.0000000000000002e+15"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }

    #[test]
    fn times_are_rounded_to_their_type() {
        let at = |text: &str| time::parse_timestamp(text).expect("a time").0;
        assert_eq!(to_unit(at("2026-01-05 00:00:00.5"), TimeUnit::Second), at("2026-01-05 00:00:01"));
        assert_eq!(to_unit(at("1999-12-31 23:59:59.5"), TimeUnit::Second), at("1999-12-31 23:59:59"));
    }

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        assert!(matches!(parse(" 12 ", &SqlType::Int(4)), Ok(Value::Int(12))));
        for (text, to) in [
            ("12.0", SqlType::Int(4)),
            ("3000000000", SqlType::Int(4)),
            ("", SqlType::Int(8)),
            ("2026-02-30", SqlType::Date),
            ("maybe", SqlType::Bool),
            ("1e400", SqlType::Double),
        ] {
            assert!(parse(text, &to).is_err(), "{text}");
        }
        assert!(matches!(parse("YES", &SqlType::Bool), Ok(Value::Bool(true))));
    }
}

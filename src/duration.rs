//! Durations as people write them: `10 minutes`, `1h 30m`, `500ms`; words and letters in any case.
//!
//! `m` and `M` are minutes. Months and years have no fixed length, and no duration.

use std::time::Duration;

/// Each unit by its names, in nanoseconds, the longest first.
const UNITS: [(&[&str], u64); 8] = [
    (&["w", "wk", "wks", "week", "weeks"], 7 * 86_400_000_000_000),
    (&["d", "day", "days"], 86_400_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"], 1_000_000),
    (&["us", "µs", "usec", "usecs", "micro", "micros", "microsecond", "microseconds"], 1_000),
    (&["ns", "nsec", "nsecs", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
];

/// What has no fixed length.
const NOT_FIXED: [&str; 9] = ["mon", "mons", "month", "months", "y", "yr", "yrs", "year", "years"];

/// Numbers with units, added up; `0` needs no unit.
///
/// # Errors
/// What is wrong with the text, and what to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    const EXAMPLES: &str = "write '10 minutes', '30s' or '1h 30m'";
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("it is empty; {EXAMPLES}"));
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (digits, after) = split_at_first(rest, |c| !c.is_ascii_digit());
        if digits.is_empty() {
            return Err(format!("a number is expected at \"{rest}\"; {EXAMPLES}"));
        }
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_at_first(after, |c| !c.is_ascii_digit()),
            None => ("", after),
        };
        let (unit, after) = split_at_first(after.trim_start(), |c| !c.is_alphabetic());
        rest = after.trim_start();
        let lower = unit.to_lowercase();
        if NOT_FIXED.contains(&lower.as_str()) {
            return Err(format!("\"{unit}\" has no fixed length; write days, such as '30 days'"));
        }
        let known = UNITS.iter().find(|(names, _)| names.contains(&lower.as_str()));
        let (_, unit_nanos) = known.ok_or_else(|| match unit {
            "" => format!("{digits} has no unit; write '{digits}s', '{digits} minutes' or '{digits}h'"),
            other => format!("the unit \"{other}\" is unknown; {EXAMPLES}"),
        })?;
        let part = in_nanos(digits, fraction, u128::from(*unit_nanos));
        nanos += part.ok_or("it is too long, or finer than a nanosecond")?;
    }
    match i64::try_from(nanos) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos.unsigned_abs())),
        Err(_) => Err("it is longer than 292 years".to_owned()),
    }
}

/// `whole.fraction` units of `unit` nanoseconds; `None` if that is no whole number of nanoseconds.
fn in_nanos(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    if whole.len() > 20 || fraction.len() > 15 {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let value = (whole.parse::<u128>().ok()? * scale + fraction) * unit;
    value.is_multiple_of(scale).then_some(value / scale)
}

fn split_at_first(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// `duration` as [`parse`] reads it, in the shortest form: `1h 30m`.
pub fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    // Weeks are for reading only.
    for (names, nanos) in &UNITS[1..] {
        if left >= *nanos {
            parts.push(format!("{}{}", left / nanos, names[0]));
            left %= nanos;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format, parse};

    #[test]
    fn numbers_with_units_in_any_case_are_durations() {
        for (text, seconds) in [
            ("10 minutes", 600),
            ("10 MINUTES", 600),
            ("10 Minutes", 600),
            ("10m", 600),
            ("10M", 600),
            ("10 Min", 600),
            ("5s", 5),
            ("5S", 5),
            ("1h 30m", 5400),
            ("1H30M", 5400),
            ("1 hour 30 minutes", 5400),
            (" 2 days ", 172_800),
            ("1.5h", 5400),
            ("0.25 Min", 15),
            ("1W", 604_800),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("250 MS"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("7us 1ns"), Ok(Duration::from_nanos(7001)));
    }

    #[test]
    fn what_has_no_fixed_length_or_no_unit_is_refused() {
        for text in ["1 month", "10MONTHS", "2 mon", "1y", "1Y", "3 yrs", "1 year", "2 Years"] {
            assert!(parse(text).expect_err(text).contains("30 days"), "{text}");
        }
        for (text, words) in [
            ("", "empty"),
            ("10", "no unit"),
            ("1h 30", "no unit"),
            ("ten minutes", "a number"),
            ("-5s", "a number"),
            ("1.h 5", "no unit"),
            (".5h", "a number"),
            ("0.5ns", "finer"),
            ("5 parsecs", "parsecs"),
            ("106752 days", "292 years"),
            ("99999999999999999999s", "292 years"),
            ("999999999999999999999s", "too long"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (nanos, text) in [
            (0, "0s"),
            (5_400_000_000_000, "1h 30m"),
            (40 * 86_400_000_000_000, "40d"),
            (1_000_250_000_001, "16m 40s 250ms 1ns"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)));
        }
    }
}

//! Times and dates from their text: RFC 3339, strictly, with UTC where no zone is given.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

/// Days since 1970 of `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<i32> {
    let date = parse_date(text.as_bytes())?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(date.signed_duration_since(epoch).num_days()).ok()
}

/// Nanoseconds since 1970 UTC of an RFC 3339 text; wider than `i64`, which ends in 2262.
///
/// `T`, `t` or a space between date and time; `Z`, `z`, `±hh:mm` or no zone (UTC); up to nine
/// fraction digits; no leap second, no 24:00.
pub(super) fn timestamp(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let (day, rest) = bytes.split_at_checked(10)?;
    let day = parse_date(day)?;
    let (separator, rest) = rest.split_first()?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (clock, rest) = rest.split_at_checked(8)?;
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let time = NaiveTime::from_hms_opt(number(&clock[0..2])?, number(&clock[3..5])?, number(&clock[6..8])?)?;
    let (fraction_nanos, zone) = match rest.split_first() {
        Some((b'.', rest)) => {
            let num_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if num_digits == 0 || num_digits > 9 {
                return None;
            }
            (number(&rest[..num_digits])? * 10u32.pow(9 - num_digits as u32), &rest[num_digits..])
        }
        _ => (0, rest),
    };
    let offset_seconds = zone_seconds(zone)?;
    let seconds = NaiveDateTime::new(day, time).and_utc().timestamp() - offset_seconds;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(fraction_nanos))
}

fn parse_date(bytes: &[u8]) -> Option<NaiveDate> {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    NaiveDate::from_ymd_opt(number(&bytes[0..4])? as i32, number(&bytes[5..7])?, number(&bytes[8..10])?)
}

fn zone_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0u32, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::{date, timestamp};

    #[test]
    fn only_rfc_3339_is_a_time() {
        let base = 1_767_574_923_000_000_000;
        for (text, nanos) in [
            ("2026-01-05T01:02:03Z", base),
            ("2026-01-05t01:02:03z", base),
            ("2026-01-05 01:02:03", base),
            ("2026-01-05T03:02:03+02:00", base),
            ("2026-01-04T20:32:03-04:30", base),
            ("2026-01-05T01:02:03.25Z", base + 250_000_000),
            ("2026-01-05T01:02:03.000000001", base + 1),
        ] {
            assert_eq!(timestamp(text), Some(nanos), "{text}");
        }
        assert!(timestamp("9999-12-31T23:59:59Z").is_some_and(|nanos| nanos > i128::from(i64::MAX)));
        for text in [
            "",
            "now",
            "2026-01-05",
            "1767574923",
            "2026-01-05T24:00:00Z",
            "2026-01-05T23:59:60Z",
            "2026-02-30T00:00:00Z",
            "2026-01-05T01:02Z",
            "2026-01-05T01:02:03.Z",
            "2026-01-05T01:02:03.1234567890Z",
            "2026-01-05T01:02:03+0200",
            "2026-01-05T01:02:03+24:00",
            "2026-01-05T01:02:03 Z",
            "+2026-01-05T01:02:03Z",
            "2026-1-5T01:02:03Z",
            "２026-01-05T01:02:03Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("2026-02-29"), None);
        assert_eq!(date("2026-01-05T00:00:00Z"), None);
    }
}

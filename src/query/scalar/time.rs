//! Dates, times and intervals on the proleptic Gregorian calendar, as PostgreSQL counts them.
//!
//! A time is nanoseconds since 1970 in an `i128`, so that no step overflows between year 1 and 9999,
//! whatever unit a column has; whether a result fits its type is asked where it leaves an expression.

use super::fault::Fault;
use super::numeric::Numeric;

pub(crate) const NANOS_PER_DAY: i128 = 86_400_000_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_HOUR: i128 = 3_600 * NANOS_PER_SECOND;
const NANOS_PER_MINUTE: i128 = 60 * NANOS_PER_SECOND;

/// Months, days and a time, which PostgreSQL keeps apart: a month has no fixed length, a day may have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) months: i64,
    pub(crate) days: i64,
    pub(crate) nanos: i128,
}

impl Interval {
    /// What it is compared by: a month counts as 30 days, a day as 24 hours.
    pub(crate) fn span(&self) -> i128 {
        (i128::from(self.months) * 30 + i128::from(self.days)) * NANOS_PER_DAY + self.nanos
    }

    pub(crate) fn negate(&self) -> Self {
        Self { months: -self.months, days: -self.days, nanos: -self.nanos }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        Self {
            months: self.months + other.months,
            days: self.days + other.days,
            nanos: self.nanos + other.nanos,
        }
    }

    /// The difference of two times: whole days and what is left, both of one sign.
    pub(crate) fn between(later: i128, earlier: i128) -> Self {
        let nanos = later - earlier;
        Self { months: 0, days: (nanos / NANOS_PER_DAY) as i64, nanos: nanos % NANOS_PER_DAY }
    }
}

/// Year, month and day of a number of days since 1970-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    // Howard Hinnant's days_from_civil, turned around: years begin in March, eras have 400 of them.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub(crate) fn days_of_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next_year, next_month, 1) - days(year, month, 1)
}

/// Days since 1970 and nanoseconds since midnight.
pub(crate) fn split(nanos: i128) -> (i64, i128) {
    (nanos.div_euclid(NANOS_PER_DAY) as i64, nanos.rem_euclid(NANOS_PER_DAY))
}

/// `time + interval`: months first, to the last day of a shorter month, then days, then the time.
pub(crate) fn add(nanos: i128, interval: &Interval) -> Result<i128, Fault> {
    let (mut date, time) = split(in_range(nanos)?);
    if interval.months != 0 {
        let (year, month, day) = civil(date);
        let months = year * 12 + (month - 1) + interval.months;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        date = days(year, month, day.min(days_of_month(year, month)));
    }
    in_range(i128::from(date + interval.days) * NANOS_PER_DAY + time + interval.nanos)
}

/// PostgreSQL's own range: 4714-11-24 BC to the end of 294276.
pub(crate) fn in_range(nanos: i128) -> Result<i128, Fault> {
    let (date, _) = split(nanos);
    if (-2_440_588..106_751_983).contains(&date) {
        Ok(nanos)
    } else {
        Err(Fault::new("timestamp out of range"))
    }
}

/// The fields that EXTRACT and date_trunc know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Epoch,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
}

impl Field {
    /// By PostgreSQL's names.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" | "usec" => Self::Microseconds,
            "millisecond" | "milliseconds" | "ms" | "msec" => Self::Milliseconds,
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "day" | "days" | "d" => Self::Day,
            "week" | "weeks" | "w" => Self::Week,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "century" | "centuries" | "c" | "cent" => Self::Century,
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            "epoch" => Self::Epoch,
            "dow" => Self::DayOfWeek,
            "isodow" => Self::IsoDayOfWeek,
            "doy" => Self::DayOfYear,
            "isoyear" => Self::IsoYear,
            _ => return None,
        })
    }

    /// How many fraction digits its value has, at times of `nanos` or of microseconds.
    pub(crate) fn scale(self, nanos: bool) -> u32 {
        let finer = if nanos { 3 } else { 0 };
        match self {
            Self::Second | Self::Epoch => 6 + finer,
            Self::Milliseconds => 3 + finer,
            Self::Microseconds => finer,
            _ => 0,
        }
    }

    /// Whether a date without a time has it (PostgreSQL refuses the hour of a date).
    pub(crate) fn is_of_date(self) -> bool {
        !matches!(self, Self::Microseconds | Self::Milliseconds | Self::Second | Self::Minute | Self::Hour)
    }

    pub(crate) fn can_truncate(self) -> bool {
        !matches!(self, Self::Epoch | Self::DayOfWeek | Self::IsoDayOfWeek | Self::DayOfYear | Self::IsoYear)
    }
}

/// `EXTRACT(field FROM time)`, at the scale of [`Field::scale`].
pub(crate) fn extract(field: Field, nanos: i128, fine: bool) -> Numeric {
    let (date, time) = split(nanos);
    let (year, month, day) = civil(date);
    // Nanoseconds are shown where there are any.
    let fine = fine && nanos % 1_000 != 0;
    let scale = field.scale(fine);
    let whole = |value: i64| Numeric::new(i128::from(value), 0);
    // Of the time in nanoseconds, at nine fraction digits of a second, to the scale asked for.
    let fraction = |nanos: i128| Numeric::new(nanos.div_euclid(if fine { 1 } else { 1_000 }), scale);
    match field {
        Field::Microseconds | Field::Milliseconds | Field::Second => fraction(time % NANOS_PER_MINUTE),
        Field::Epoch => fraction(nanos),
        Field::Minute => whole((time / NANOS_PER_MINUTE % 60) as i64),
        Field::Hour => whole((time / NANOS_PER_HOUR) as i64),
        Field::Day => whole(day),
        Field::Week => whole(iso_week(date).1),
        Field::Month => whole(month),
        Field::Quarter => whole((month - 1) / 3 + 1),
        // There is no year 0 in PostgreSQL: before year 1 it counts 1 BC as −1.
        Field::Year => whole(if year > 0 { year } else { year - 1 }),
        Field::Decade => whole(year.div_euclid(10)),
        Field::Century => whole(if year > 0 { (year + 99) / 100 } else { -((99 - (year - 1)) / 100) }),
        Field::Millennium => whole(if year > 0 { (year + 999) / 1000 } else { -((999 - (year - 1)) / 1000) }),
        Field::DayOfWeek => whole((date + 4).rem_euclid(7)),
        Field::IsoDayOfWeek => whole((date + 3).rem_euclid(7) + 1),
        Field::DayOfYear => whole(date - days(year, 1, 1) + 1),
        Field::IsoYear => {
            let year = iso_week(date).0;
            whole(if year > 0 { year } else { year - 1 })
        }
    }
}

/// `EXTRACT(field FROM interval)`.
pub(crate) fn extract_interval(field: Field, interval: &Interval) -> Option<Numeric> {
    let whole = |value: i64| Numeric::new(i128::from(value), 0);
    let time = interval.nanos;
    Some(match field {
        Field::Epoch => {
            // A year counts as 365.25 days, a month as 30.
            let years = i128::from(interval.months / 12);
            let months = i128::from(interval.months % 12);
            let seconds = years * 31_557_600 + (months * 30 + i128::from(interval.days)) * 86_400;
            Numeric::new(seconds * 1_000_000 + time / 1_000, 6)
        }
        Field::Microseconds => Numeric::new(time % NANOS_PER_MINUTE / 1_000, 0),
        Field::Milliseconds => Numeric::new(time % NANOS_PER_MINUTE / 1_000, 3),
        Field::Second => Numeric::new(time % NANOS_PER_MINUTE / 1_000, 6),
        Field::Minute => whole((time / NANOS_PER_MINUTE % 60) as i64),
        Field::Hour => whole((time / NANOS_PER_HOUR) as i64),
        Field::Day => whole(interval.days),
        Field::Month => whole(interval.months % 12),
        Field::Year => whole(interval.months / 12),
        _ => return None,
    })
}

/// ISO 8601's year and week: week 1 has the year's first Thursday.
fn iso_week(date: i64) -> (i64, i64) {
    let thursday = date - (date + 3).rem_euclid(7) + 3;
    let (year, _, _) = civil(thursday);
    (year, (thursday - days(year, 1, 1)) / 7 + 1)
}

/// `date_trunc(field, time)`.
pub(crate) fn truncate(field: Field, nanos: i128) -> i128 {
    let (date, _) = split(nanos);
    let (year, month, _) = civil(date);
    let to = |unit: i128| nanos.div_euclid(unit) * unit;
    let midnight = |date: i64| i128::from(date) * NANOS_PER_DAY;
    match field {
        Field::Microseconds => to(1_000),
        Field::Milliseconds => to(1_000_000),
        Field::Second => to(NANOS_PER_SECOND),
        Field::Minute => to(NANOS_PER_MINUTE),
        Field::Hour => to(NANOS_PER_HOUR),
        Field::Week => midnight(date - (date + 3).rem_euclid(7)),
        Field::Month => midnight(days(year, month, 1)),
        Field::Quarter => midnight(days(year, (month - 1) / 3 * 3 + 1, 1)),
        Field::Year => midnight(days(year, 1, 1)),
        Field::Decade => midnight(days(year.div_euclid(10) * 10, 1, 1)),
        Field::Century => midnight(days((year - 1).div_euclid(100) * 100 + 1, 1, 1)),
        Field::Millennium => midnight(days((year - 1).div_euclid(1000) * 1000 + 1, 1, 1)),
        _ => midnight(date),
    }
}

/// A date as ISO 8601 writes it, `BC` behind years before 1.
pub(crate) fn format_date(date: i64) -> String {
    let (year, month, day) = civil(date);
    if year > 0 {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{:04}-{month:02}-{day:02} BC", 1 - year)
    }
}

/// A date as ISO 8601 writes it: years before 1 count on downwards, those beyond 9999 have a sign.
pub(crate) fn iso_date(date: i64) -> String {
    let (year, month, day) = civil(date);
    let sign = if year < 0 {
        "-"
    } else if year > 9999 {
        "+"
    } else {
        ""
    };
    format!("{sign}{:04}-{month:02}-{day:02}", year.abs())
}

/// A time as PostgreSQL shows it: `2026-01-05 00:10:00.25`, without zeros at the end.
pub(crate) fn format_timestamp(nanos: i128) -> String {
    let (date, time) = split(nanos);
    let seconds = time / NANOS_PER_SECOND;
    let fraction = format!("{:09}", time % NANOS_PER_SECOND);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let text = format_date(date);
    let (text, bc) = text.strip_suffix(" BC").map_or((text.as_str(), ""), |text| (text, " BC"));
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{text} {hour:02}:{minute:02}:{second:02}{point}{fraction}{bc}")
}

/// A date or time in ISO 8601: `2026-01-05`, with ` ` or `T` and `hh:mm[:ss[.fraction]]` behind it, and `Z` or an offset.
///
/// Gives the nanoseconds, and whether there was an offset from UTC. PostgreSQL reads many more forms; those that
/// depend on settings (`01/05/2026`) mean nothing here.
pub(crate) fn parse_timestamp(text: &str) -> Option<(i128, bool)> {
    let text = text.trim();
    let (date, rest) = parse_date_part(text)?;
    if rest.is_empty() {
        return Some((i128::from(date) * NANOS_PER_DAY, false));
    }
    let rest = rest.strip_prefix([' ', 'T', 't'])?.trim_start();
    let offset_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = (rest[..offset_at].trim_end(), &rest[offset_at..]);
    let mut parts = clock.split(':');
    let hour = two_digits(parts.next()?)?;
    let minute = two_digits(parts.next()?)?;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            (two_digits(whole)?, format!("{fraction:0<9}").parse::<i128>().ok()?)
        }
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset_seconds = match offset {
        "" => 0,
        "Z" | "z" => 0,
        _ => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
            let (hours, minutes) = match digits.len() {
                2 => (two_digits(&digits)?, 0),
                4 => (two_digits(&digits[..2])?, two_digits(&digits[2..])?),
                _ => return None,
            };
            sign * (hours * 3600 + minutes * 60)
        }
    };
    let seconds = i128::from(hour * 3600 + minute * 60 + second);
    let nanos = i128::from(date) * NANOS_PER_DAY + seconds * NANOS_PER_SECOND + nanos;
    Some((nanos - i128::from(offset_seconds) * NANOS_PER_SECOND, offset_seconds != 0))
}

/// `yyyy-mm-dd` or `yyyymmdd` at the beginning of a text, as days, and what follows.
fn parse_date_part(text: &str) -> Option<(i64, &str)> {
    let year_length = text.bytes().take_while(u8::is_ascii_digit).count();
    if year_length == 8 {
        let (year, rest) = text.split_at(4);
        let (month, rest) = rest.split_at(2);
        let (day, rest) = rest.split_at(2);
        let date = parse_date_part(&format!("{year}-{month}-{day}"))?.0;
        return Some((date, rest));
    }
    if !(4..=6).contains(&year_length) || !text.is_char_boundary(year_length + 6) {
        return None;
    }
    let (date, rest) = (text.get(..year_length + 6)?, text.get(year_length + 6..)?);
    let mut parts = date.split('-');
    let year: i64 = parts.next()?.parse().ok()?;
    let (month, day) = (two_digits(parts.next()?)?, two_digits(parts.next()?)?);
    let is_date = year >= 1 && (1..=12).contains(&month) && day >= 1 && day <= days_of_month(year, month);
    is_date.then(|| (days(year, month, day), rest))
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_other_for_ten_thousand_years() {
        for number in (-719_528..2_932_897).step_by(13) {
            let (year, month, day) = civil(number);
            assert_eq!(days(year, month, day), number);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(format_date(days(9999, 12, 31)), "9999-12-31");
    }

    #[test]
    fn a_month_later_is_the_last_day_of_a_shorter_month() {
        let (january, _) = parse_timestamp("2026-01-31 10:00:00").expect("a time");
        let month = Interval { months: 1, ..Interval::default() };
        assert_eq!(format_timestamp(add(january, &month).expect("in range")), "2026-02-28 10:00:00");
    }

    #[test]
    fn weeks_are_those_of_iso() {
        let (time, _) = parse_timestamp("2027-01-01").expect("a date");
        assert_eq!(extract(Field::Week, time, false).to_string(), "53");
        assert_eq!(extract(Field::IsoYear, time, false).to_string(), "2026");
        assert_eq!(format_timestamp(truncate(Field::Week, time)), "2026-12-28 00:00:00");
    }
}

//! An expression as an interval around an event time: what is known of it without computing it.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;

use crate::clock::nanos_per;

const MILLISECOND: i128 = nanos_per(TimeUnit::Millisecond);
const SECOND: i128 = nanos_per(TimeUnit::Second);
/// Nanoseconds of a day.
pub(crate) const DAY: i128 = 86_400 * SECOND;

/// A sum of the two event times and a constant in nanoseconds that lies between `least` and `greatest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AroundTime {
    pub(crate) coefficients: [i32; 2],
    pub(crate) least: i128,
    pub(crate) greatest: i128,
    /// A number of days, as DATE − DATE gives it.
    pub(crate) counts_days: bool,
}

impl AroundTime {
    pub(crate) fn time(side: usize) -> Self {
        let mut coefficients = [0, 0];
        coefficients[side] = 1;
        Self { coefficients, least: 0, greatest: 0, counts_days: false }
    }

    pub(crate) fn constant(nanos: i128) -> Self {
        Self { coefficients: [0, 0], least: nanos, greatest: nanos, counts_days: false }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        let ([a, b], [c, d]) = (self.coefficients, other.coefficients);
        Self {
            coefficients: [a + c, b + d],
            least: self.least + other.least,
            greatest: self.greatest + other.greatest,
            counts_days: self.counts_days,
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let [a, b] = other.coefficients;
        self.plus(&Self {
            coefficients: [-a, -b],
            least: -other.greatest,
            greatest: -other.least,
            counts_days: other.counts_days,
        })
    }

    /// Cut down to a multiple of some `width` or less.
    pub(crate) fn floored(self, width: i128) -> Self {
        Self { least: self.least - (width - 1), ..self }
    }

    /// Brought to a whole number of `unit`, up or down.
    pub(crate) fn rounded(self, unit: i128) -> Self {
        Self { least: self.least - (unit - 1), greatest: self.greatest + (unit - 1), ..self }
    }

    pub(crate) fn cast(self, from: &DataType, to: &DataType) -> Option<Self> {
        use DataType::{Date32, Date64, Duration, Int8, Int16, Int32, Int64, Interval, Timestamp};
        let is_utc = |zone: &Option<Arc<str>>| {
            zone.as_ref().is_none_or(|zone| matches!(zone.as_ref(), "+00:00" | "UTC" | "Z"))
        };
        match (from, to) {
            (from, to) if from == to => Some(self),
            // Another zone shifts the wall clock.
            (Timestamp(_, from_zone), Timestamp(_, to_zone)) if is_utc(from_zone) && is_utc(to_zone) => {
                Some(self.coarser(unit(from), unit(to)))
            }
            (Timestamp(_, zone), Date32 | Date64) if is_utc(zone) => Some(self.floored(DAY)),
            (Date32 | Date64, Timestamp(_, zone)) if is_utc(zone) => Some(self),
            (Date64, Date32) => Some(self.floored(DAY)),
            (Date32, Date64) => Some(self),
            (Duration(_) | Interval(IntervalUnit::MonthDayNano | IntervalUnit::DayTime), Duration(_))
            | (Duration(_), Interval(IntervalUnit::MonthDayNano)) => Some(self.coarser(unit(from), unit(to))),
            (Int8 | Int16 | Int32, Int64) => Some(self),
            _ => None,
        }
    }

    fn coarser(self, from: i128, to: i128) -> Self {
        if to > from { self.rounded(to) } else { self }
    }
}

/// The step of a type's values, in nanoseconds.
pub(crate) fn unit(data_type: &DataType) -> i128 {
    match data_type {
        DataType::Timestamp(unit, _) | DataType::Duration(unit) => nanos_per(*unit),
        DataType::Date32 | DataType::Date64 => DAY,
        _ => 1,
    }
}

/// The greatest distance of two times that `date_trunc` makes equal, and one nanosecond.
pub(crate) fn truncation(unit: ScalarValue) -> Option<i128> {
    let unit = unit.try_as_str().flatten()?.to_lowercase();
    Some(match unit.as_str() {
        "microsecond" => 1_000,
        "millisecond" => MILLISECOND,
        "second" => SECOND,
        "minute" => 60 * SECOND,
        "hour" => 3600 * SECOND,
        "day" => DAY,
        "week" => 7 * DAY,
        "month" => 31 * DAY,
        "quarter" => 92 * DAY,
        "year" => 366 * DAY,
        _ => return None,
    })
}

/// The length of an interval or duration; `Some(None)` if it has months.
pub(crate) fn interval_nanos(value: &ScalarValue) -> Option<Option<i128>> {
    Some(match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            (interval.months == 0).then(|| i128::from(interval.days) * DAY + i128::from(interval.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i128::from(interval.days) * DAY + i128::from(interval.milliseconds) * MILLISECOND)
        }
        ScalarValue::IntervalYearMonth(Some(_)) => None,
        ScalarValue::DurationSecond(Some(value)) => Some(i128::from(*value) * SECOND),
        ScalarValue::DurationMillisecond(Some(value)) => Some(i128::from(*value) * MILLISECOND),
        ScalarValue::DurationMicrosecond(Some(value)) => Some(i128::from(*value) * 1_000),
        ScalarValue::DurationNanosecond(Some(value)) => Some(i128::from(*value)),
        _ => return None,
    })
}

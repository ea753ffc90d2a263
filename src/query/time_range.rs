//! How far apart in time two rows may lie and still meet: the bounds that ON puts on the watermark columns.
//!
//! Each comparison in ON is read as `right time - left time` against a constant, whatever way it is
//! written: `BETWEEN`, differences, casts. What compares other columns bounds nothing.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};

use crate::clock::Nanos;
use crate::error::Result;
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::{SqlFile, refuse, refuse_at};

/// The bounds of right minus left event time that the predicates of ON give.
pub(crate) fn time_range(
    file: &SqlFile,
    conjuncts: &[Expr],
    inputs: &[SourceSubtree<'_>; 2],
) -> Result<(Nanos, Nanos)> {
    let (mut least, mut greatest): (Option<i128>, Option<i128>) = (None, None);
    for conjunct in conjuncts {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else { continue };
        let (Some(left), Some(right)) = (linear(left, inputs, file)?, linear(right, inputs, file)?) else {
            continue;
        };
        let sum = left.minus(&right);
        // sum is ±(right time − left time) + constant, compared with 0.
        let (op, constant) = match sum.coefficients {
            [-1, 1] => (*op, sum.constant),
            [1, -1] => (op.swap().unwrap_or(*op), -sum.constant),
            _ => continue,
        };
        let bound = -constant;
        let mut at_least = |bound: i128| least = Some(least.map_or(bound, |other: i128| other.max(bound)));
        let mut at_most =
            |bound: i128| greatest = Some(greatest.map_or(bound, |other: i128| other.min(bound)));
        match op {
            Operator::GtEq => at_least(bound),
            Operator::Gt => at_least(bound + 1),
            Operator::LtEq => at_most(bound),
            Operator::Lt => at_most(bound - 1),
            Operator::Eq => {
                at_least(bound);
                at_most(bound);
            }
            _ => {}
        }
    }
    let time = |input: &SourceSubtree<'_>| format!("{}.{}", input.alias, input.event_time_name());
    let (left, right) = (time(&inputs[0]), time(&inputs[1]));
    match (least, greatest) {
        (Some(least), Some(greatest)) => {
            let narrow = |bound: i128| {
                i64::try_from(bound)
                    .map_err(|_| refuse(file, "the time range of the join is longer than 290 years"))
            };
            if least > greatest {
                return Err(refuse_at(file, "ON", "the time range of the join is empty: no row could ever match").advise(format!(
                    "the lower bound lies above the upper one; write AND {right} BETWEEN {left} - INTERVAL '5 minutes' AND {left} + INTERVAL '10 minutes'"
                )));
            }
            Ok((narrow(least)?, narrow(greatest)?))
        }
        (least, _) => {
            let missing = if least.is_none() { "lower" } else { "upper" };
            Err(refuse_at(file, "ON", format!("the join has no {missing} time bound: its state would grow for ever")).advise(format!(
                "add to ON: AND {right} BETWEEN {left} - INTERVAL '5 minutes' AND {left} + INTERVAL '10 minutes'"
            )))
        }
    }
}

/// A sum of the two event times and a constant, in nanoseconds.
#[derive(Default)]
struct Linear {
    coefficients: [i32; 2],
    constant: i128,
}

impl Linear {
    fn plus(&self, other: &Self, sign: i32) -> Self {
        let [a, b] = self.coefficients;
        let [c, d] = other.coefficients;
        Self {
            coefficients: [a + sign * c, b + sign * d],
            constant: self.constant + i128::from(sign) * other.constant,
        }
    }

    fn minus(&self, other: &Self) -> Self {
        self.plus(other, -1)
    }
}

fn linear(expr: &Expr, inputs: &[SourceSubtree<'_>; 2], file: &SqlFile) -> Result<Option<Linear>> {
    Ok(match expr {
        Expr::Column(column) => {
            let side = inputs.iter().position(|input| input.is_event_time(column));
            side.map(|side| {
                let mut coefficients = [0, 0];
                coefficients[side] = 1;
                Linear { coefficients, constant: 0 }
            })
        }
        Expr::Cast(Cast { expr, .. }) => linear(expr, inputs, file)?,
        Expr::Alias(alias) => linear(&alias.expr, inputs, file)?,
        Expr::Literal(value, _) => {
            interval_nanos(file, value)?.map(|constant| Linear { coefficients: [0, 0], constant })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
            let sign = if *op == Operator::Plus { 1 } else { -1 };
            match (linear(left, inputs, file)?, linear(right, inputs, file)?) {
                (Some(left), Some(right)) => Some(left.plus(&right, sign)),
                _ => None,
            }
        }
        _ => None,
    })
}

fn interval_nanos(file: &SqlFile, value: &ScalarValue) -> Result<Option<i128>> {
    const DAY: i128 = 86_400_000_000_000;
    let months = || {
        refuse_at(file, "INTERVAL", "the time bound has months or years, whose length varies")
            .advise("write it in days, hours or minutes")
    };
    Ok(match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            if interval.months != 0 {
                return Err(months());
            }
            Some(i128::from(interval.days) * DAY + i128::from(interval.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i128::from(interval.days) * DAY + i128::from(interval.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(_)) => return Err(months()),
        ScalarValue::DurationSecond(Some(value)) => Some(i128::from(*value) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(value)) => Some(i128::from(*value) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(value)) => Some(i128::from(*value) * 1_000),
        ScalarValue::DurationNanosecond(Some(value)) => Some(i128::from(*value)),
        _ => None,
    })
}

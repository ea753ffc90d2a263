//! How far apart in time two rows may lie and still meet: the bounds that ON puts on the watermark columns.
//!
//! Each comparison in ON is read as `right time - left time` against a constant, whatever way it is
//! written: `BETWEEN`, differences, casts. What compares other columns bounds nothing.
//!
//! An expression around a time need not be that time: `CAST(t AS DATE)` lies anywhere from a day before
//! it up to it. So each is read as an interval around the time. Where the interval is a point, asking the
//! bounds asks all that the comparison does, and the engine compares the times itself. Otherwise the
//! bounds hold, and the comparison is asked as it is written.

use std::cell::Cell;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator, TryCast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::clock::Nanos;
use crate::error::Result;
use crate::query::around_time::{AroundTime, DAY, interval_nanos, truncation, unit};
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::{SqlFile, refuse, refuse_at};

/// The bounds of right minus left event time, collected from the predicates of ON.
pub(crate) struct TimeBounds<'a> {
    file: &'a SqlFile,
    inputs: &'a [SourceSubtree<'a>; 2],
    /// Of the joined rows.
    schema: &'a DFSchema,
    simplifier: &'a ExprSimplifier,
    least: Option<i128>,
    greatest: Option<i128>,
    sums: [Sums; 2],
    /// A predicate asks for both times and bounds nothing.
    is_any_unbounded: bool,
    /// An interval of months was met, whose length varies.
    has_months: Cell<bool>,
}

impl<'a> TimeBounds<'a> {
    /// No bounds yet.
    pub(crate) fn new(
        file: &'a SqlFile,
        inputs: &'a [SourceSubtree<'a>; 2],
        schema: &'a DFSchema,
        simplifier: &'a ExprSimplifier,
    ) -> Self {
        Self {
            file,
            inputs,
            schema,
            simplifier,
            least: None,
            greatest: None,
            sums: Default::default(),
            is_any_unbounded: false,
            has_months: Cell::new(false),
        }
    }

    /// Whether both bounds are known.
    pub(crate) fn is_bounded(&self) -> bool {
        self.least.is_some() && self.greatest.is_some()
    }

    /// Reads one predicate; `true` if the bounds ask all that it asks.
    pub(crate) fn read(&mut self, predicate: &Expr) -> Result<bool> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate else {
            self.note_unbounded(predicate);
            return Ok(false);
        };
        let times = (self.around_time(left, Level::Join)?, self.around_time(right, Level::Join)?);
        let (before, after) = match times {
            (Some(before), Some(after)) if before.counts_days == after.counts_days => (before, after),
            _ => {
                self.note_unbounded(predicate);
                return Ok(false);
            }
        };
        let difference = before.minus(&after);
        // The difference is ±(right time − left time) + offset, compared with 0.
        let (op, least_offset, greatest_offset) = match difference.coefficients {
            [-1, 1] => (*op, difference.least, difference.greatest),
            [1, -1] => (op.swap().unwrap_or(*op), -difference.greatest, -difference.least),
            _ => return Ok(false),
        };
        match op {
            Operator::GtEq => self.at_least(-greatest_offset),
            Operator::Gt => self.at_least(1 - greatest_offset),
            Operator::LtEq => self.at_most(-least_offset),
            Operator::Lt => self.at_most(-least_offset - 1),
            Operator::Eq | Operator::IsNotDistinctFrom => {
                self.at_least(-greatest_offset);
                self.at_most(-least_offset);
            }
            _ => return Ok(false),
        }
        let asks_all = least_offset == greatest_offset;
        if asks_all && unit(&self.type_of(left, Level::Join)?) == 1 {
            [before, after].iter().for_each(|sum| self.remember_sum(sum));
        }
        Ok(asks_all)
    }

    fn remember_sum(&mut self, sum: &AroundTime) {
        for (side, sums) in self.sums.iter_mut().enumerate() {
            if sum.coefficients[side] == 1 && sum.coefficients[1 - side] == 0 {
                let nanos =
                    i64::try_from(sum.least).unwrap_or(if sum.least < 0 { i64::MIN } else { i64::MAX });
                *sums = Sums { least: sums.least.min(nanos), greatest: sums.greatest.max(nanos) };
            }
        }
    }

    /// For each side what the predicates that the bounds stand for add to its event time.
    pub(crate) fn sums(&self) -> [Sums; 2] {
        self.sums
    }

    fn at_least(&mut self, bound: i128) {
        self.least = Some(self.least.map_or(bound, |least| least.max(bound)));
    }

    fn at_most(&mut self, bound: i128) {
        self.greatest = Some(self.greatest.map_or(bound, |greatest| greatest.min(bound)));
    }

    fn note_unbounded(&mut self, predicate: &Expr) {
        let columns = predicate.column_refs();
        let asks = |input: &SourceSubtree<'_>| columns.iter().any(|column| input.is_event_time(column));
        self.is_any_unbounded |= self.inputs.iter().all(asks);
    }

    /// Least and greatest right event time minus left event time, both inclusive.
    pub(crate) fn range(&self) -> Result<(Nanos, Nanos)> {
        let time = |input: &SourceSubtree<'_>| format!("{}.{}", input.alias, input.event_time_name());
        let (left, right) = (time(&self.inputs[0]), time(&self.inputs[1]));
        let example =
            format!("AND {right} BETWEEN {left} - INTERVAL '5 minutes' AND {left} + INTERVAL '10 minutes'");
        match (self.least, self.greatest) {
            (Some(least), Some(greatest)) => {
                let narrow = |bound: i128| {
                    i64::try_from(bound)
                        .map_err(|_| refuse(self.file, "the time range of the join is longer than 290 years"))
                };
                if least > greatest {
                    return Err(refuse_at(
                        self.file,
                        "ON",
                        "the time range of the join is empty: no row could ever match",
                    )
                    .advise(format!("the lower bound lies above the upper one; write {example}")));
                }
                Ok((narrow(least)?, narrow(greatest)?))
            }
            _ if self.has_months.get() => Err(refuse_at(
                self.file,
                "INTERVAL",
                "the time bound has months or years, whose length varies",
            )
            .advise("write it in days, hours or minutes")),
            (least, _) => {
                let missing = if least.is_none() { "lower" } else { "upper" };
                let error = refuse_at(
                    self.file,
                    "ON",
                    format!("the join has no {missing} time bound: its state would grow for ever"),
                );
                Err(error.advise(match self.is_any_unbounded {
                    true => format!(
                        "what ON asks of the two times does not say how far apart they may lie; add to it: {example}"
                    ),
                    false => format!("add to ON: {example}"),
                }))
            }
        }
    }

    /// What `expr` says of the event times; `None` if it is no time that lies near one of them, and no constant.
    fn around_time(&self, expr: &Expr, level: Level) -> Result<Option<AroundTime>> {
        if expr.column_refs().is_empty() {
            return self.constant(expr);
        }
        Ok(match expr {
            Expr::Column(column) => match level {
                Level::Source(side) => (column.name == self.inputs[side].source.event_time_name())
                    .then(|| AroundTime::time(side)),
                Level::Join => {
                    let side =
                        self.inputs.iter().position(|input| column.relation.as_ref() == Some(&input.alias));
                    let Some(side) = side else { return Ok(None) };
                    match self.inputs[side].definition(&column.name) {
                        Some(definition) => self.around_time(&definition, Level::Source(side))?,
                        None => None,
                    }
                }
            },
            Expr::Alias(alias) => self.around_time(&alias.expr, level)?,
            Expr::Cast(Cast { expr: inner, field }) | Expr::TryCast(TryCast { expr: inner, field }) => {
                let from = self.type_of(inner, level)?;
                self.around_time(inner, level)?.and_then(|time| time.cast(&from, field.data_type()))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                let sides = (self.around_time(left, level)?, self.around_time(right, level)?);
                let (Some(before), Some(after)) = sides else { return Ok(None) };
                let of_type = self.type_of(expr, level)?;
                let mut constants = [&before, &after].into_iter().filter(|time| time.coefficients == [0, 0]);
                let is_whole = constants.all(|constant| constant.least % unit(&of_type) == 0);
                let sum = if *op == Operator::Plus { before.plus(&after) } else { before.minus(&after) };
                match of_type {
                    DataType::Int64 => {
                        let dates = matches!(self.type_of(left, level)?, DataType::Date32 | DataType::Date64);
                        let days = before.counts_days && after.counts_days;
                        (dates || days).then_some(AroundTime { counts_days: true, ..sum })
                    }
                    _ if before.counts_days || after.counts_days => None,
                    _ if is_whole => Some(sum),
                    _ => Some(sum.rounded(unit(&of_type))),
                }
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                let (steps, time) = match (func.name(), args.as_slice()) {
                    ("date_trunc", [unit, time]) => (self.literal(unit).and_then(truncation), time),
                    ("date_bin", [width, time] | [width, time, _]) => (self.bin_width(width)?, time),
                    _ => return Ok(None),
                };
                match (steps, self.around_time(time, level)?) {
                    (Some(width), Some(time)) => Some(time.floored(width)),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    fn type_of(&self, expr: &Expr, level: Level) -> Result<DataType> {
        Ok(match level {
            Level::Join => expr.get_type(self.schema)?,
            Level::Source(side) => {
                let schema: DFSchemaRef = self.inputs[side].source_schema()?;
                expr.get_type(schema.as_ref())?
            }
        })
    }

    fn literal(&self, expr: &Expr) -> Option<ScalarValue> {
        match self.simplifier.simplify(expr.clone()) {
            Ok(Expr::Literal(value, _)) => Some(value),
            _ => None,
        }
    }

    fn constant(&self, expr: &Expr) -> Result<Option<AroundTime>> {
        let Some(value) = self.literal(expr) else { return Ok(None) };
        if let Some(nanos) = interval_nanos(&value) {
            self.has_months.set(self.has_months.get() || nanos.is_none());
            return Ok(nanos.map(AroundTime::constant));
        }
        let days = match value {
            ScalarValue::Int64(Some(days)) => Some(days),
            ScalarValue::Int32(Some(days)) => Some(i64::from(days)),
            _ => None,
        };
        Ok(days.map(|days| AroundTime { counts_days: true, ..AroundTime::constant(i128::from(days) * DAY) }))
    }

    /// The greatest length of a bin.
    fn bin_width(&self, width: &Expr) -> Result<Option<i128>> {
        let Some(value) = self.literal(width) else { return Ok(None) };
        Ok(match (interval_nanos(&value), &value) {
            (Some(Some(nanos)), _) => Some(nanos),
            (Some(None), ScalarValue::IntervalMonthDayNano(Some(interval))) => Some(
                (i128::from(interval.months) * 31 + i128::from(interval.days)) * DAY
                    + i128::from(interval.nanoseconds),
            ),
            _ => None,
        }
        .filter(|width| *width > 0))
    }
}

/// Constants that are added to a time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    least: Nanos,
    greatest: Nanos,
}

impl Sums {
    /// Whether a sum lies beyond what a TIMESTAMP can hold.
    pub(crate) fn overflow(self, time: Nanos) -> bool {
        time.checked_add(self.least).is_none() || time.checked_add(self.greatest).is_none()
    }
}

/// Whose columns an expression names.
#[derive(Clone, Copy)]
enum Level {
    /// Those of both sides.
    Join,
    /// Those that a side's source declares.
    Source(usize),
}

//! The join of two streams, taken from a view: its keys, its time range, and its plans for a batch.
//!
//! DataFusion plans the view as it stands; two of its rules find the equalities. From that plan the
//! engine reads which rows can still meet, and builds three others that run in each batch:
//!
//! ```text
//! pairs        left inner join right ON … AND (left is new OR right is new)
//! left alone   left (outer join) nothing      → the NULLs of the view's own SELECT
//! right alone  nothing (outer join) right
//! ```
//!
//! Example: `p.created_at BETWEEN o.created_at - 5 min AND o.created_at + 10 min` means
//! −5 min ≤ p − o ≤ 10 min. With the watermark at 12:00, an order of 11:49 can't meet a payment any
//! more (11:49 + 10 min < 12:00), one of 11:50 still can; a payment of 11:54 can't meet an order
//! (11:54 + 5 min < 12:00), one of 11:55 can. So each side waits for its own time, and no longer.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Volatility,
};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::PhysicalExpr;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::folder::SqlFile;
use crate::query::session::{Prepared, Slot, confined, least_volatility};
use crate::query::source_table::SourceTable;
use crate::query::statement::{refuse, sql_error};

/// A side of the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Before JOIN.
    Left,
    /// After JOIN.
    Right,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// 0 or 1.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// The hidden columns of a side's input.
const ROW: &str = "_row";
const NEW: &str = "_new";
/// The hidden columns of the joined rows.
pub(crate) const LEFT_ROW: &str = "_left_row";
pub(crate) const RIGHT_ROW: &str = "_right_row";

/// A view over the join of two sources.
#[derive(Debug)]
pub struct JoinView {
    /// How rows without a partner are treated.
    pub join_type: JoinType,
    /// The equalities as (left, right) SQL expressions, for people and for the fingerprint.
    pub keys: Vec<(String, String)>,
    /// Least and greatest right event time minus left event time, in nanoseconds, both inclusive.
    pub time_range: (Nanos, Nanos),
    /// The columns of the view.
    pub schema: SchemaRef,
    /// The columns of an inner pair of the view: those of an outer join may be NULL, these only if declared so.
    pub joined_schema: SchemaRef,
    sides: [SidePlan; 2],
    pairs: Prepared,
    alone: [Prepared; 2],
}

/// What the join needs of one side.
#[derive(Debug)]
pub struct SidePlan {
    /// The index of its source in the program.
    pub source: usize,
    /// The columns that state keeps: used by the view, of the PRIMARY KEY, or the event time.
    pub columns: SchemaRef,
    /// The other side's PRIMARY KEY is the join key: a row that has matched once can't match again.
    pub matches_once: bool,
    slot: Slot,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    admits: Option<Arc<dyn PhysicalExpr>>,
}

impl JoinView {
    /// Reads the view's plan; `sources` are all Kafka tables of the program.
    pub(crate) fn plan(file: &SqlFile, plan: &LogicalPlan, sources: &[SourceTable]) -> Result<Self> {
        if least_volatility(plan)? != Volatility::Immutable {
            return Err(refuse(file, "the join view uses a function whose result changes").advise(
                "use _batch_time in rules and outputs; random() and uuid() are never the same at a replay",
            ));
        }
        let state = confined(Vec::new())?;
        let as_sql = |source| sql_error(file, &source);
        let analyzed = state
            .analyzer()
            .execute_and_check(plan.clone(), state.config_options(), |_, _| {})
            .map_err(as_sql)?;
        let optimizer = Optimizer::with_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
        ]);
        let plan = optimizer.optimize(analyzed, &state, |_, _| {}).map_err(as_sql)?;
        let LogicalPlan::Projection(projection) = &plan else {
            return Err(not_a_join(file));
        };
        let LogicalPlan::Join(join) = projection.input.as_ref() else {
            return Err(not_a_join(file));
        };
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
            return Err(refuse(file, format!("a {} join of streams is not supported", join.join_type))
                .advise("use INNER, LEFT, RIGHT or FULL JOIN"));
        }
        if let Some(field) = plan.schema().fields().iter().find(|field| field.name().starts_with('_')) {
            return Err(refuse(
                file,
                format!("the view's column \"{}\" begins with an underscore", field.name()),
            )
            .advise("such names are the engine's; give it another with AS"));
        }
        let inputs = [Input::read(file, &join.left, sources)?, Input::read(file, &join.right, sources)?];
        if join.on.is_empty() {
            return Err(refuse(file, "the join has no equality on a key").advise(format!(
                "add one to ON, for example {}.<key> = {}.<key>",
                inputs[0].alias, inputs[1].alias
            )));
        }
        let conjuncts: Vec<Expr> = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
        let time_range = time_range(file, &conjuncts, &inputs)?;
        Self::build(file, join, &projection.expr, conjuncts, time_range, inputs)
    }

    fn build(
        file: &SqlFile,
        join: &Join,
        select: &[Expr],
        conjuncts: Vec<Expr>,
        time_range: (Nanos, Nanos),
        inputs: [Input<'_>; 2],
    ) -> Result<Self> {
        let as_sql = |source| sql_error(file, &source);
        let state = confined(Vec::new())?;
        let equalities = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let on: Vec<Expr> = equalities.chain(conjuncts.iter().cloned()).collect();
        let used = used_columns(select.iter().chain(&on))?;
        let sides = Side::BOTH.map(|side| {
            let input = &inputs[side.index()];
            let keys = join.on.iter().map(|(left, right)| if side == Side::Left { left } else { right });
            let other_keys: Vec<&Expr> =
                join.on.iter().map(|(left, right)| if side == Side::Left { right } else { left }).collect();
            let matches_once = inputs[side.other().index()].is_identified_by(&other_keys);
            SidePlan::build(&state, input, &used, keys, &conjuncts, matches_once).map_err(as_sql)
        });
        let [left, right] = sides;
        let sides = [left?, right?];

        let new = |input: &Input<'_>| Expr::Column(Column::new(Some(input.alias.clone()), NEW));
        let row = |input: &Input<'_>, name: &str| {
            Expr::Column(Column::new(Some(input.alias.clone()), ROW)).alias(name)
        };
        let scan = |side: Side| inputs[side.index()].scan(&sides[side.index()].slot);
        let either_new = new(&inputs[0]).or(new(&inputs[1]));
        let mut with_rows: Vec<Expr> = select.to_vec();
        with_rows.push(row(&inputs[0], LEFT_ROW));
        with_rows.push(row(&inputs[1], RIGHT_ROW));
        let joined = |join_type, on: Vec<Expr>| -> Result<LogicalPlan> {
            LogicalPlanBuilder::from(scan(Side::Left)?)
                .join_on(scan(Side::Right)?, join_type, on)
                .and_then(|builder| builder.project(with_rows.clone()))
                .and_then(LogicalPlanBuilder::build)
                .map_err(as_sql)
        };
        let mut on_new = on.clone();
        on_new.push(either_new);
        let pairs = joined(JoinType::Inner, on_new)?;
        let outer = joined(JoinType::Full, on.clone())?;
        let num_columns = select.len();
        let fields = |plan: &LogicalPlan| -> SchemaRef {
            Arc::new(Schema::new(plan.schema().fields()[..num_columns].to_vec()))
        };
        let joined_schema = fields(&pairs);
        let of_view = joined(join.join_type, on.clone())?;
        let schema = fields(&of_view);
        let prepare = |plan| Prepared::try_new(&state, plan).map_err(as_sql);
        Ok(Self {
            join_type: join.join_type,
            keys: join.on.iter().map(|(left, right)| (left.to_string(), right.to_string())).collect(),
            time_range,
            schema,
            joined_schema,
            pairs: prepare(pairs)?,
            alone: [prepare(outer.clone())?, prepare(outer)?],
            sides,
        })
    }

    /// What the join needs of `side`.
    pub fn side(&self, side: Side) -> &SidePlan {
        &self.sides[side.index()]
    }

    /// Whether rows of `side` that find no partner come out, with NULLs.
    pub fn keeps_unmatched(&self, side: Side) -> bool {
        match self.join_type {
            JoinType::Full => true,
            JoinType::Left => side == Side::Left,
            JoinType::Right => side == Side::Right,
            _ => false,
        }
    }

    /// How far the watermark may pass a row's event time while a partner can still come.
    pub fn reach(&self, side: Side) -> Nanos {
        match side {
            Side::Left => self.time_range.1,
            Side::Right => self.time_range.0.saturating_neg(),
        }
    }

    /// Highest minus lowest bound: how long a PRIMARY KEY is remembered beyond its event time.
    pub fn width(&self) -> Nanos {
        self.time_range.1.saturating_sub(self.time_range.0)
    }

    /// The pairs of which at least one row is new.
    ///
    /// Inputs have their side's columns; `*_new` says of each row whether it came in this batch.
    /// Returns the view's rows, and for each the index of its left and right input row.
    pub(crate) async fn pairs(
        &self,
        left: (&RecordBatch, &[bool]),
        right: (&RecordBatch, &[bool]),
    ) -> Result<(RecordBatch, UInt32Array, UInt32Array)> {
        self.side(Side::Left).set_input(Some(left))?;
        self.side(Side::Right).set_input(Some(right))?;
        let rows = self.pairs.run(0).await?;
        self.clear();
        let num_columns = self.schema.fields().len();
        let index = |offset: usize| rows.column(num_columns + offset).as_primitive().clone();
        let (left, right) = (index(0), index(1));
        Ok((self.view_rows(&rows, num_columns)?, left, right))
    }

    /// `rows` of `side` as the view shows them without a partner, in their order.
    pub(crate) async fn alone(&self, side: Side, rows: &RecordBatch) -> Result<RecordBatch> {
        let none = vec![false; rows.num_rows()];
        self.side(side).set_input(Some((rows, &none)))?;
        self.side(side.other()).set_input(None)?;
        let joined = self.alone[side.index()].run(0).await?;
        self.clear();
        let num_columns = self.schema.fields().len();
        let order: &UInt32Array = joined.column(num_columns + side.index()).as_primitive();
        if joined.num_rows() != rows.num_rows() {
            return Err(Error::internal("the outer join lost or doubled a row"));
        }
        let mut at = vec![0u32; rows.num_rows()];
        for (position, &row) in (0u32..).zip(order.values()) {
            at[row as usize] = position;
        }
        let joined = self.view_rows(&joined, num_columns)?;
        Ok(arrow::compute::take_record_batch(&joined, &UInt32Array::from(at))?)
    }

    /// The view's columns with the view's nullability, whatever join type produced them.
    fn view_rows(&self, rows: &RecordBatch, num_columns: usize) -> Result<RecordBatch> {
        let columns = rows.columns()[..num_columns].to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn clear(&self) {
        for side in &self.sides {
            side.slot.set(None);
        }
    }
}

impl SidePlan {
    fn build<'e>(
        state: &SessionState,
        input: &Input<'_>,
        used: &BTreeSet<(TableReference, String)>,
        keys: impl Iterator<Item = &'e Expr>,
        conjuncts: &[Expr],
        matches_once: bool,
    ) -> datafusion::error::Result<Self> {
        let sql_schema = input.source.sql_schema();
        let is_kept = |index: usize, name: &str| {
            index == input.source.event_time
                || input.source.primary_key.contains(&index)
                || used.contains(&(input.alias.clone(), name.to_owned()))
        };
        let kept: Vec<Arc<Field>> = sql_schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(index, field)| is_kept(*index, field.name()))
            .map(|(_, field)| Arc::clone(field))
            .collect();
        let columns: SchemaRef = Arc::new(Schema::new(kept.clone()));
        let mut fields = kept;
        fields.push(Arc::new(Field::new(ROW, DataType::UInt32, false)));
        fields.push(Arc::new(Field::new(NEW, DataType::Boolean, false)));
        let slot = Slot::new(Arc::new(Schema::new(fields)));
        let schema = DFSchema::try_from_qualified_schema(input.alias.clone(), &columns)?;
        let keys: Vec<Arc<dyn PhysicalExpr>> = keys
            .map(|key| state.create_physical_expr(key.clone(), &schema))
            .collect::<datafusion::error::Result<_>>()?;
        let sort_fields = keys
            .iter()
            .map(|key| key.data_type(&columns).map(SortField::new))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let own: Option<Expr> = conjuncts
            .iter()
            .filter(|conjunct| {
                let columns = conjunct.column_refs();
                columns.iter().all(|column| column.relation.as_ref() == Some(&input.alias))
            })
            .cloned()
            .reduce(Expr::and);
        let admits = own.map(|own| state.create_physical_expr(own, &schema)).transpose()?;
        Ok(Self {
            source: input.source_index,
            columns,
            matches_once,
            slot,
            keys,
            converter: RowConverter::new(sort_fields)?,
            admits,
        })
    }

    fn set_input(&self, input: Option<(&RecordBatch, &[bool])>) -> Result<()> {
        let rows = input
            .map(|(rows, is_new)| {
                let mut columns = rows.columns().to_vec();
                columns.push(Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32)));
                columns.push(Arc::new(BooleanArray::from(is_new.to_vec())));
                RecordBatch::try_new(Arc::clone(self.slot.schema()), columns)
            })
            .transpose()?;
        self.slot.set(rows);
        Ok(())
    }

    /// A hash of each row's join key; `None` where the row can never match: a NULL in the key, or a
    /// predicate of ON on this side alone that is not TRUE. Equal keys have equal hashes in every
    /// run; the join itself compares the keys.
    pub(crate) fn key_hashes(&self, rows: &RecordBatch) -> Result<Vec<Option<u64>>> {
        let num_rows = rows.num_rows();
        let arrays = self
            .keys
            .iter()
            .map(|key| key.evaluate(rows)?.into_array(num_rows))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let admitted =
            self.admits.as_ref().map(|admits| admits.evaluate(rows)?.into_array(num_rows)).transpose()?;
        let encoded = self.converter.convert_columns(&arrays)?;
        Ok((0..num_rows)
            .map(|row| {
                let matchable = arrays.iter().all(|array| array.is_valid(row))
                    && admitted
                        .as_ref()
                        .is_none_or(|array| array.is_valid(row) && array.as_boolean().value(row));
                matchable.then(|| fnv1a(encoded.row(row).as_ref()))
            })
            .collect())
    }
}

/// FNV-1a with a final mix; fixed for ever, so that state can be indexed again after a restart.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One input of the join: a Kafka table, perhaps under another name.
struct Input<'a> {
    source_index: usize,
    source: &'a SourceTable,
    table: TableReference,
    alias: TableReference,
}

impl<'a> Input<'a> {
    fn read(file: &SqlFile, plan: &LogicalPlan, sources: &'a [SourceTable]) -> Result<Self> {
        let (scan, alias) = match plan {
            LogicalPlan::SubqueryAlias(alias) => (alias.input.as_ref(), Some(alias.alias.clone())),
            other => (other, None),
        };
        let LogicalPlan::TableScan(scan) = scan else { return Err(not_a_join(file)) };
        let table = scan.table_name.table();
        let source_index = sources
            .iter()
            .position(|source| source.name == table)
            .ok_or_else(|| refuse(file, format!("\"{table}\" is no Kafka table")))?;
        Ok(Self {
            source_index,
            source: &sources[source_index],
            table: scan.table_name.clone(),
            alias: alias.unwrap_or_else(|| scan.table_name.clone()),
        })
    }

    fn scan(&self, slot: &Slot) -> Result<LogicalPlan> {
        let mut builder =
            LogicalPlanBuilder::scan(self.table.clone(), provider_as_source(slot.table()?), None)?;
        if self.alias != self.table {
            builder = builder.alias(self.alias.clone())?;
        }
        Ok(builder.build()?)
    }

    /// Whether the PRIMARY KEY is among `keys`, so that a key names one row at most.
    fn is_identified_by(&self, keys: &[&Expr]) -> bool {
        !self.source.primary_key.is_empty()
            && self.source.primary_key.iter().all(|&index| {
                let name = self.source.columns.field(index).name();
                keys.iter().any(|key| matches!(key, Expr::Column(column) if column.name == *name))
            })
    }

    fn is_event_time(&self, column: &Column) -> bool {
        column.relation.as_ref() == Some(&self.alias)
            && column.name == *self.source.columns.field(self.source.event_time).name()
    }
}

fn not_a_join(file: &SqlFile) -> Error {
    refuse(file, "the view is not a plain join of two Kafka tables").advise(
        "write SELECT … FROM a JOIN b ON a.key = b.key AND b.time BETWEEN a.time - INTERVAL '…' AND a.time + INTERVAL '…'; \
         filters and calculations belong into rules and outputs",
    )
}

fn used_columns<'e>(exprs: impl Iterator<Item = &'e Expr>) -> Result<BTreeSet<(TableReference, String)>> {
    let mut used = BTreeSet::new();
    for expr in exprs {
        expr.apply(|expr| {
            if let Expr::Column(Column { relation: Some(relation), name, .. }) = expr {
                used.insert((relation.clone(), name.clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(used)
}

/// The bounds of right minus left event time that the predicates of ON give.
fn time_range(file: &SqlFile, conjuncts: &[Expr], inputs: &[Input<'_>; 2]) -> Result<(Nanos, Nanos)> {
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
    let time = |input: &Input<'_>| {
        format!("{}.{}", input.alias, input.source.columns.field(input.source.event_time).name())
    };
    let (left, right) = (time(&inputs[0]), time(&inputs[1]));
    match (least, greatest) {
        (Some(least), Some(greatest)) => {
            let narrow = |bound: i128| {
                i64::try_from(bound)
                    .map_err(|_| refuse(file, "the time range of the join is longer than 290 years"))
            };
            Ok((narrow(least)?, narrow(greatest)?))
        }
        (least, _) => {
            let missing = if least.is_none() { "lower" } else { "upper" };
            Err(refuse(file, format!("the join has no {missing} time bound: its state would grow for ever")).advise(format!(
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

fn linear(expr: &Expr, inputs: &[Input<'_>; 2], file: &SqlFile) -> Result<Option<Linear>> {
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
        refuse(file, "the time bound has months or years, whose length varies")
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

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
//! A WHERE of the view filters the joined rows; it is computed as a hidden column, since a row whose
//! pairs are all filtered out has matched all the same.
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
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Volatility, lit};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::PhysicalExpr;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::lookup::refuse_node;
use crate::query::scalar::{Scalars, compile, compile_expr};
use crate::query::session::{Prepared, Slot, confined, data_error, least_volatility};
use crate::query::source_table::SourceTable;
use crate::query::source_view::{SourceSubtree, SourceView};
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::time_range::time_range;
use crate::query::view::ROW;

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

/// The hidden column of a side's input that says whether a row came in this batch.
const NEW: &str = "_new";
/// The hidden columns of the joined rows.
const LEFT_ROW: &str = "_left_row";
const RIGHT_ROW: &str = "_right_row";
const KEPT: &str = "_kept";

/// A view over the join of two sources.
#[derive(Debug)]
pub struct JoinView {
    /// How rows without a partner are treated.
    pub join_type: JoinType,
    /// The equalities as (left, right) SQL expressions, for people and for the fingerprint.
    pub keys: Vec<(String, String)>,
    /// The other predicates of ON, the time bounds among them.
    pub predicates: Vec<String>,
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
    /// The rows that enter the join: the columns of the side that the view uses, and its PRIMARY KEY.
    pub input: SourceView,
    /// What the view calls the side.
    pub alias: String,
    /// The other side's PRIMARY KEY is the join key: a row that has matched once can't match again.
    pub matches_once: bool,
    slot: Slot,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    admits: Option<Arc<dyn PhysicalExpr>>,
}

/// Rows that the view made of pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// The view's rows, of all pairs.
    pub(crate) rows: RecordBatch,
    /// For each the index of its left input row.
    pub(crate) left: UInt32Array,
    /// For each the index of its right input row.
    pub(crate) right: UInt32Array,
    /// Which of them the view's WHERE lets through.
    pub(crate) kept: BooleanArray,
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
        let plan = where_into_inner_join(plan.clone()).map_err(as_sql)?;
        let analyzed =
            state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).map_err(as_sql)?;
        let optimizer = Optimizer::with_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
        ]);
        let plan = optimizer.optimize(analyzed, &state, |_, _| {}).map_err(as_sql)?;
        let join = find_join(file, &plan)?;
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
            return Err(refuse_at(
                file,
                "JOIN",
                format!("a {} join of streams is not supported", join.join_type),
            )
            .advise("use INNER, LEFT, RIGHT or FULL JOIN"));
        }
        if let Some(field) = plan.schema().fields().iter().find(|field| field.name().starts_with('_')) {
            return Err(refuse_at(
                file,
                field.name(),
                format!("the view's column \"{}\" begins with an underscore", field.name()),
            )
            .advise("such names are the engine's; give it another with AS"));
        }
        let mut seen = BTreeSet::new();
        if let Some(field) = plan.schema().fields().iter().find(|field| !seen.insert(field.name().clone())) {
            return Err(refuse_at(
                file,
                field.name(),
                format!("the view has the column \"{}\" twice", field.name()),
            )
            .advise("give one of them another name with AS"));
        }
        let side =
            |input: &LogicalPlan| SourceSubtree::read(file, input, sources)?.ok_or_else(|| not_a_join(file));
        let inputs = [side(&join.left)?, side(&join.right)?];
        if inputs[0].source_index == inputs[1].source_index {
            return Err(refuse_at(file, "JOIN", "the view joins a table with itself")
                .advise("a join meets two topics: write the records that it should meet to a second one"));
        }
        if join.on.is_empty() {
            return Err(refuse_at(file, "ON", "the join has no equality on a key").advise(format!(
                "add one to ON, for example {}.<key> = {}.<key>",
                inputs[0].alias, inputs[1].alias
            )));
        }
        let conjuncts: Vec<Expr> = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
        // Times that must be equal are found among the keys.
        let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let bounds: Vec<Expr> = conjuncts.iter().cloned().chain(equal).collect();
        let time_range = time_range(file, &bounds, &inputs)?;
        Self::build(file, &plan, join, conjuncts, time_range, inputs)
    }

    fn build(
        file: &SqlFile,
        plan: &LogicalPlan,
        join: &Join,
        conjuncts: Vec<Expr>,
        time_range: (Nanos, Nanos),
        inputs: [SourceSubtree<'_>; 2],
    ) -> Result<Self> {
        let as_sql = |source| sql_error(file, &source);
        let state = confined(Vec::new())?;
        let equalities = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let on: Vec<Expr> = equalities.chain(conjuncts.iter().cloned()).collect();
        let used = columns_above_join(plan, &on)?;
        let sides = Side::BOTH.map(|side| {
            let input = &inputs[side.index()];
            let keys = join.on.iter().map(|(left, right)| if side == Side::Left { left } else { right });
            let other_keys: Vec<&Expr> =
                join.on.iter().map(|(left, right)| if side == Side::Left { right } else { left }).collect();
            let matches_once = inputs[side.other().index()].is_identified_by(&other_keys);
            SidePlan::build(file, &state, input, &used, keys, &conjuncts, matches_once)
        });
        let [left, right] = sides;
        let sides = [left?, right?];

        let scan = |side: Side| inputs[side.index()].scan(&sides[side.index()].slot);
        let joined = |join_type, on: Vec<Expr>| -> Result<LogicalPlan> {
            let (left, right) = (scan(Side::Left)?, scan(Side::Right)?);
            with_hidden_columns(plan, &inputs, || {
                LogicalPlanBuilder::from(left.clone()).join_on(right.clone(), join_type, on.clone())?.build()
            })
            .map_err(as_sql)
        };
        let new = |input: &SourceSubtree<'_>| Expr::Column(Column::new(Some(input.alias.clone()), NEW));
        let mut on_new = on.clone();
        on_new.push(new(&inputs[0]).or(new(&inputs[1])));
        let pairs = joined(JoinType::Inner, on_new)?;
        let outer = joined(JoinType::Full, on.clone())?;
        let num_columns = plan.schema().fields().len();
        let fields = |plan: &LogicalPlan| -> SchemaRef {
            let fields = plan.schema().fields()[..num_columns].iter();
            Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
        };
        let joined_schema = fields(&pairs);
        let schema = fields(&joined(join.join_type, on.clone())?);
        let prepare = |plan| {
            let Scalars { plan, now, .. } = compile(file, plan)?;
            Prepared::try_new(&state, &plan, now).map_err(as_sql)
        };
        let mut predicates: Vec<String> = conjuncts.iter().map(ToString::to_string).collect();
        predicates.sort();
        Ok(Self {
            join_type: join.join_type,
            keys: join.on.iter().map(|(left, right)| (left.to_string(), right.to_string())).collect(),
            predicates,
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

    /// The physical plan of a batch's pairs, for people.
    pub fn describe_pairs(&self) -> String {
        self.pairs.describe()
    }

    /// The pairs of which at least one row is new.
    ///
    /// Inputs have their side's columns; `*_new` says of each row whether it came in this batch.
    pub(crate) async fn pairs(
        &self,
        left: (&RecordBatch, &[bool]),
        right: (&RecordBatch, &[bool]),
    ) -> Result<Pairs> {
        self.side(Side::Left).set_input(Some(left))?;
        self.side(Side::Right).set_input(Some(right))?;
        let joined = self.pairs.run(0).await;
        self.clear();
        self.take_apart(&joined.map_err(|error| self.failed(&error))?)
    }

    /// `rows` of `side` as the view shows them without a partner, in their order, and which of them
    /// its WHERE lets through.
    pub(crate) async fn alone(&self, side: Side, rows: &RecordBatch) -> Result<(RecordBatch, BooleanArray)> {
        let none = vec![false; rows.num_rows()];
        self.side(side).set_input(Some((rows, &none)))?;
        self.side(side.other()).set_input(None)?;
        let joined = self.alone[side.index()].run(0).await;
        self.clear();
        let joined = self.take_apart(&joined.map_err(|error| self.failed(&error))?)?;
        let order = if side == Side::Left { &joined.left } else { &joined.right };
        if order.len() != rows.num_rows() {
            return Err(Error::internal("the outer join lost or doubled a row"));
        }
        let mut at = vec![0u32; rows.num_rows()];
        for (position, &row) in (0u32..).zip(order.values()) {
            at[row as usize] = position;
        }
        let at = UInt32Array::from(at);
        let kept = arrow::compute::take(&joined.kept, &at, None)?.as_boolean().clone();
        Ok((arrow::compute::take_record_batch(&joined.rows, &at)?, kept))
    }

    /// The view's columns with the view's nullability, whatever join type produced them, and the hidden ones.
    fn take_apart(&self, joined: &RecordBatch) -> Result<Pairs> {
        let num_columns = self.schema.fields().len();
        let hidden = |name: &str| {
            joined
                .column_by_name(name)
                .ok_or_else(|| Error::internal(format!("the join lost its column {name}")))
        };
        let rows = RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            joined.columns()[..num_columns].to_vec(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(joined.num_rows())),
        )?;
        let kept = hidden(KEPT)?.as_boolean();
        let kept =
            BooleanArray::from_iter((0..kept.len()).map(|row| Some(kept.is_valid(row) && kept.value(row))));
        Ok(Pairs {
            rows,
            left: hidden(LEFT_ROW)?.as_primitive().clone(),
            right: hidden(RIGHT_ROW)?.as_primitive().clone(),
            kept,
        })
    }

    fn failed(&self, error: &datafusion::error::DataFusionError) -> Error {
        match data_error(error) {
            Ok(problem) => Error::config("the join view failed on a row").because(problem).advise(
                "its expressions have to compute for every row: use TRY_CAST, NULLIF or CASE, start again, and the batch runs again",
            ),
            Err(error) => error,
        }
    }

    fn clear(&self) {
        for side in &self.sides {
            side.slot.set(None);
        }
    }
}

impl SidePlan {
    fn build<'e>(
        file: &SqlFile,
        state: &SessionState,
        subtree: &SourceSubtree<'_>,
        used: &BTreeSet<(TableReference, String)>,
        keys: impl Iterator<Item = &'e Expr>,
        conjuncts: &[Expr],
        matches_once: bool,
    ) -> Result<Self> {
        let alias = &subtree.alias;
        let input = subtree.build(file, state, |name| used.contains(&(alias.clone(), name.to_owned())))?;
        let mut fields: Vec<Arc<Field>> = input.columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW, DataType::UInt32, false)));
        fields.push(Arc::new(Field::new(NEW, DataType::Boolean, false)));
        let slot = Slot::new(Arc::new(Schema::new(fields)));
        let schema = DFSchema::try_from_qualified_schema(alias.clone(), &input.columns)?;
        let keys: Vec<Arc<dyn PhysicalExpr>> = keys
            .map(|key| Ok(state.create_physical_expr(compile_expr(file, key, &schema)?, &schema)?))
            .collect::<Result<_>>()?;
        let sort_fields = keys
            .iter()
            .map(|key| key.data_type(&input.columns).map(SortField::new))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let own: Option<Expr> = conjuncts
            .iter()
            .filter(|conjunct| {
                let columns = conjunct.column_refs();
                columns.iter().all(|column| column.relation.as_ref() == Some(alias))
            })
            .cloned()
            .reduce(Expr::and);
        let admits = own
            .map(|own| {
                Ok::<_, Error>(state.create_physical_expr(compile_expr(file, &own, &schema)?, &schema)?)
            })
            .transpose()?;
        Ok(Self {
            input,
            alias: alias.to_string(),
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

impl SourceSubtree<'_> {
    fn scan(&self, slot: &Slot) -> Result<LogicalPlan> {
        Ok(LogicalPlanBuilder::scan(self.alias.clone(), provider_as_source(slot.table()?), None)?.build()?)
    }
}

/// FNV-1a with a final mix; fixed for ever, so that state can be indexed again after a restart.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn not_a_join(file: &SqlFile) -> Error {
    refuse_at(file, "FROM", "the view is not a plain join of two Kafka tables").advise(
        "write SELECT … FROM a JOIN b ON a.key = b.key AND b.time BETWEEN a.time - INTERVAL '…' AND a.time + INTERVAL '…'; \
         each side may be a filtered and projected table; calculations over several rows belong into the database",
    )
}

/// The join below projections, filters and aliases.
fn find_join<'p>(file: &SqlFile, plan: &'p LogicalPlan) -> Result<&'p Join> {
    match plan {
        LogicalPlan::Join(join) => Ok(join),
        LogicalPlan::Projection(projection) => find_join(file, &projection.input),
        LogicalPlan::Filter(filter) => find_join(file, &filter.input),
        LogicalPlan::SubqueryAlias(alias) => find_join(file, &alias.input),
        other => Err(refuse_node(file, "the join view", other).advise(
            "a view over streams works row by row; what depends on several rows (DISTINCT, GROUP BY, ORDER BY, LIMIT, \
             windows, UNION) would differ from batch to batch: do it in the database",
        )),
    }
}

/// `FROM a, b WHERE …` and `a JOIN b ON … WHERE …` of an inner join: WHERE is part of ON.
fn where_into_inner_join(plan: LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
    plan.transform_up(|node| {
        let LogicalPlan::Filter(filter) = &node else { return Ok(Transformed::no(node)) };
        let LogicalPlan::Join(join) = filter.input.as_ref() else { return Ok(Transformed::no(node)) };
        if join.join_type != JoinType::Inner {
            return Ok(Transformed::no(node));
        }
        let both = join.filter.iter().cloned().fold(filter.predicate.clone(), Expr::and);
        let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let on = keys.chain([both]);
        let joined = LogicalPlanBuilder::from(join.left.as_ref().clone())
            .join_on(join.right.as_ref().clone(), JoinType::Inner, on)?
            .build()?;
        Ok(Transformed::yes(joined))
    })
    .map(|transformed| transformed.data)
}

/// The columns of both sides that ON and everything above the join mention.
fn columns_above_join(plan: &LogicalPlan, on: &[Expr]) -> Result<BTreeSet<(TableReference, String)>> {
    let mut used = BTreeSet::new();
    let mut collect = |expr: &Expr| {
        for column in expr.column_refs() {
            if let Some(relation) = &column.relation {
                used.insert((relation.clone(), column.name.clone()));
            }
        }
    };
    on.iter().for_each(&mut collect);
    plan.apply(|node| {
        if matches!(node, LogicalPlan::Join(_)) {
            return Ok(TreeNodeRecursion::Stop);
        }
        node.expressions().iter().for_each(&mut collect);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(used)
}

/// Rebuilds what stands above the join over another join, with the hidden columns behind its own:
/// the rows of both sides, and whether all filters let the row through.
fn with_hidden_columns(
    plan: &LogicalPlan,
    inputs: &[SourceSubtree<'_>; 2],
    joined: impl FnOnce() -> datafusion::error::Result<LogicalPlan>,
) -> datafusion::error::Result<LogicalPlan> {
    let mut path = Vec::new();
    let mut node = plan;
    while !matches!(node, LogicalPlan::Join(_)) {
        path.push(node);
        node = node.inputs()[0];
    }
    let joined = joined()?;
    let mut exprs: Vec<Expr> = joined.schema().columns().into_iter().map(Expr::Column).collect();
    let row = |input: &SourceSubtree<'_>| Expr::Column(Column::new(Some(input.alias.clone()), ROW));
    exprs.extend([row(&inputs[0]).alias(LEFT_ROW), row(&inputs[1]).alias(RIGHT_ROW), lit(true).alias(KEPT)]);
    let mut rebuilt = LogicalPlanBuilder::from(joined).project(exprs)?.build()?;
    let column = |plan: &LogicalPlan, name: &str| {
        plan.schema().columns().into_iter().find(|column| column.name == name).map(Expr::Column)
    };
    for node in path.into_iter().rev() {
        let builder = LogicalPlanBuilder::from(rebuilt.clone());
        rebuilt = match node {
            LogicalPlan::Projection(projection) => {
                let hidden =
                    [LEFT_ROW, RIGHT_ROW, KEPT].into_iter().filter_map(|name| column(&rebuilt, name));
                builder.project(projection.expr.iter().cloned().chain(hidden))?.build()?
            }
            LogicalPlan::Filter(filter) => {
                let columns = rebuilt.schema().columns().into_iter().filter(|column| column.name != KEPT);
                let kept = column(&rebuilt, KEPT).unwrap_or_else(|| lit(true)).and(filter.predicate.clone());
                builder.project(columns.map(Expr::Column).chain([kept.alias(KEPT)]))?.build()?
            }
            LogicalPlan::SubqueryAlias(alias) => builder.alias(alias.alias.clone())?.build()?,
            other => other.with_new_exprs(other.expressions(), vec![rebuilt.clone()])?,
        };
    }
    Ok(rebuilt)
}

//! The join of two streams, taken from a view: its keys, its time range, and the rows that it makes.
//!
//! DataFusion plans the view as it stands. From that plan the engine reads which rows can meet
//! (`join_condition`), and what becomes of those that do:
//!
//! ```text
//! new and kept rows ─ one key, within the range, ON ─ pairs ┐
//! rows that found no partner ─────────────────────── alone ┴─ WHERE, SELECT ─ rows of the view
//! ```
//!
//! A row whose pairs are all filtered out by WHERE has matched all the same. Whatever fails to compute
//! fails for one row or one pair. A row whose key fails never enters the join. A pair for which
//! WHERE or SELECT fails has matched and gives no row; so has one for which ON fails, since nobody can say
//! of its rows that they found no partner.
//!
//! Example: `p.created_at BETWEEN o.created_at - 5 min AND o.created_at + 10 min` means
//! −5 min ≤ p − o ≤ 10 min. With the watermark at 12:00, an order of 11:49 can't meet a payment any
//! more (11:49 + 10 min < 12:00), one of 11:50 still can; a payment of 11:54 can't meet an order
//! (11:54 + 5 min < 12:00), one of 11:55 can. So each side waits for its own time, and no longer.

use std::collections::BTreeSet;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{
    Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder, Volatility,
};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::join_condition::{JoinCondition, conjuncts, refuse_other_joins};
use crate::query::join_side::SidePlan;
use crate::query::key_kinds::refuse_other_kinds;
use crate::query::pair_match::{MatchInput, Matches, PairPredicate, TimeRange, match_rows};
use crate::query::pair_rows::{PairRows, Shown};
use crate::query::plan_words::refuse_node;
use crate::query::row_wise::typed;
use crate::query::scalar::Note;
use crate::query::session::{confined, least_volatility};
use crate::query::side::Side;
use crate::query::source_table::{SOURCE_COLUMNS, SourceTable};
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::time_range::Sums;

/// A view over the join of two sources.
#[derive(Debug)]
pub struct JoinView {
    /// How rows without a partner are treated.
    pub join_type: JoinType,
    /// The equalities as SQL, the left side's expression first; for people and for the fingerprint.
    pub keys: Vec<String>,
    /// The other predicates of ON, beside those that the time range is read from.
    pub predicates: Vec<String>,
    /// Least and greatest right event time minus left event time, in nanoseconds, both inclusive.
    pub time_range: (Nanos, Nanos),
    /// The columns of the view.
    pub schema: SchemaRef,
    /// The columns of an inner pair of the view: those of an outer join may be NULL, these only if declared so.
    pub joined_schema: SchemaRef,
    sides: [SidePlan; 2],
    sums: [Sums; 2],
    predicate: Option<PairPredicate>,
    rows: PairRows,
}

impl JoinView {
    /// Reads the view's plan; `sources` are all Kafka tables of the program.
    pub(crate) fn plan(file: &SqlFile, plan: &LogicalPlan, sources: &[SourceTable]) -> Result<Self> {
        if least_volatility(plan)? != Volatility::Immutable {
            return Err(refuse(file, "the join view uses a function whose result changes").advise(
                "use _batch_time in rules and outputs; random() and uuid() are never the same at a replay",
            ));
        }
        let as_sql = |source| sql_error(file, &source);
        refuse_natural(file, find_join(file, plan)?)?;
        let plan = where_into_inner_join(plan.clone()).map_err(as_sql)?;
        let written = find_join(file, &plan)?;
        refuse_other_joins(file, written)?;
        let inputs = read_inputs(file, written, sources)?;
        refuse_other_kinds(file, written, [&inputs[0].alias, &inputs[1].alias])?;
        refuse_columns(file, &plan)?;
        let state = confined(Vec::new())?;
        let with_types = typed(file, &state, LogicalPlan::Join(written.clone()))?;
        let join = find_join(file, &with_types)?;
        let condition = JoinCondition::read(file, &state, written, join, &inputs)?;
        let used = columns_above_join(&plan, &conjuncts(written))?;
        let side = |side: Side| {
            let input = &inputs[side.index()];
            let is_used = |name: &str| used.contains(&(input.alias.clone(), name.to_owned()));
            let other = side.other().index();
            let exact = condition.keys.iter().filter(|key| key.is_exact);
            let other_keys: Vec<&Expr> = exact.map(|key| &key.written[other]).collect();
            let matches_once = inputs[other].is_identified_by(&other_keys);
            let view = input.build(file, &state, is_used)?;
            SidePlan::build(file, &state, side, input, view, &condition, matches_once)
        };
        let sides = [side(Side::Left)?, side(Side::Right)?];
        if sides[0].key_types() != sides[1].key_types() {
            return Err(Error::internal("the keys of both sides have different types"));
        }
        let predicate = PairPredicate::build(file, &state, &condition, &inputs, &sides)?;
        let schema = |may_be_missing| PairRows::schema(file, &plan, &inputs, &sides, may_be_missing);
        let shown = schema(match join.join_type {
            JoinType::Left => [false, true],
            JoinType::Right => [true, false],
            JoinType::Full => [true, true],
            _ => [false, false],
        })?;
        Ok(Self {
            join_type: join.join_type,
            keys: condition.keys.iter().map(ToString::to_string).collect(),
            predicates: condition.predicates(),
            time_range: condition.time_range,
            sums: condition.sums,
            joined_schema: schema([false, false])?,
            rows: PairRows::plan(file, &state, &plan, &inputs, &sides, &shown)?,
            schema: shown,
            sides,
            predicate,
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

    /// What a reader of its SELECT and WHERE should know.
    pub fn notes(&self) -> &[Note] {
        &self.rows.notes
    }

    /// The physical plan of the view's rows, for people.
    pub fn describe_rows(&self) -> String {
        self.rows.describe()
    }

    /// The pairs of which at least one row is new.
    pub(crate) fn matches(&self, left: MatchInput<'_>, right: MatchInput<'_>) -> Result<Matches> {
        let time_range = TimeRange { bounds: self.time_range, sums: self.sums };
        match_rows(&self.sides, time_range, self.predicate.as_ref(), [left, right])
    }

    /// The view's rows of pairs, each a row of either side's columns.
    pub(crate) async fn pairs(
        &self,
        left: (&RecordBatch, &UInt32Array),
        right: (&RecordBatch, &UInt32Array),
    ) -> Result<Shown> {
        self.rows.show(left.1.len(), [Some(left), Some(right)]).await
    }

    /// `rows` of `side` as the view shows them without a partner.
    pub(crate) async fn alone(&self, side: Side, rows: &RecordBatch) -> Result<Shown> {
        let all = UInt32Array::from_iter_values(0..rows.num_rows() as u32);
        let mut sides = [None, None];
        sides[side.index()] = Some((rows, &all));
        self.rows.show(rows.num_rows(), sides).await
    }
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
        let both = join.filter.iter().cloned().chain([filter.predicate.clone()]).reduce(Expr::and);
        let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let on = keys.chain(both);
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

/// What the join view reads on each side.
fn read_inputs<'s>(
    file: &SqlFile,
    join: &Join,
    sources: &'s [SourceTable],
) -> Result<[SourceSubtree<'s>; 2]> {
    let side =
        |input: &LogicalPlan| SourceSubtree::read(file, input, sources)?.ok_or_else(|| not_a_join(file));
    let inputs = [side(&join.left)?, side(&join.right)?];
    if inputs[0].source_index == inputs[1].source_index {
        return Err(refuse_at(file, "JOIN", "the view joins a table with itself")
            .advise("a join meets two topics: write the records that it should meet to a second one"));
    }
    Ok(inputs)
}

/// NATURAL compares what has one name on both sides, and every source has the engine's columns.
fn refuse_natural(file: &SqlFile, join: &Join) -> Result<()> {
    let is_system = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == SOURCE_COLUMNS[0]);
    if join.join_constraint == JoinConstraint::Using && join.on.iter().any(|(left, _)| is_system(left)) {
        return Err(refuse_at(
            file,
            "NATURAL",
            "a NATURAL JOIN compares all columns that both sides have, _topic and _offset too: no row could ever match",
        )
        .advise("write ON with the key and the time range"));
    }
    Ok(())
}

/// Each column of the view has a name of its own, and none is the engine's.
fn refuse_columns(file: &SqlFile, plan: &LogicalPlan) -> Result<()> {
    let mut seen = BTreeSet::new();
    for field in plan.schema().fields() {
        let name = field.name();
        if name.starts_with('_') {
            return Err(refuse_at(
                file,
                name,
                format!("the view's column \"{name}\" begins with an underscore"),
            )
            .advise("such names are the engine's; give it another with AS"));
        }
        if !seen.insert(name) {
            return Err(refuse_at(file, name, format!("the view has the column \"{name}\" twice"))
                .advise("give one of them another name with AS"));
        }
    }
    Ok(())
}

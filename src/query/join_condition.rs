//! What ON asks of two rows, taken apart by what it takes to answer.
//!
//! ```text
//! keys          left expression = right expression      found by hash
//! time range    right time − left time                  compared by the engine itself
//! own           predicates on one side's columns        asked once of each row
//! both          all others                              asked of each pair of one key within the range
//! ```
//!
//! Predicates are asked as they are written. Only where no key or no bound stands there plainly is it
//! looked for in what DataFusion's simplifier makes of them (`NOT (a < b)`, `(k AND x) OR (k AND y)`).

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, Join, JoinType, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::scalar::compile_key;
use crate::query::side::Side;
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::{SqlFile, refuse_at};
use crate::query::time_range::{Sums, TimeBounds};

/// An equality between a row of the left side and one of the right.
#[derive(Clone, Debug)]
pub(crate) struct KeyPair {
    /// For each side the expression over its columns, as it is written.
    pub(crate) written: [Expr; 2],
    /// For each side the expression in the type in which both are compared: equal values have equal bytes.
    pub(crate) sides: [Expr; 2],
    /// NULL meets NULL: it is written IS NOT DISTINCT FROM.
    pub(crate) meets_null: bool,
    /// Values that differ stay different when they are compared: not so for doubles, which a BIGINT or a
    /// DECIMAL becomes beside one.
    pub(crate) is_exact: bool,
}

impl std::fmt::Display for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [left, right] = &self.written;
        let compared = if self.meets_null { "IS NOT DISTINCT FROM" } else { "=" };
        write!(f, "{left} {compared} {right}")
    }
}

/// The condition of a join.
#[derive(Debug)]
pub(crate) struct JoinCondition {
    pub(crate) keys: Vec<KeyPair>,
    /// Least and greatest right event time minus left event time, in nanoseconds, both inclusive.
    pub(crate) time_range: (Nanos, Nanos),
    /// For each side what the comparisons of times add to its event time.
    pub(crate) sums: [Sums; 2],
    /// The predicates on one side alone.
    pub(crate) own: [Vec<Expr>; 2],
    /// The predicates on both.
    pub(crate) both: Vec<Expr>,
}

impl JoinCondition {
    /// Reads ON of `join`, whose types are decided; what has to be computed is taken from the join as it is `written`.
    pub(crate) fn read(
        file: &SqlFile,
        state: &SessionState,
        written: &Join,
        join: &Join,
        inputs: &[SourceSubtree<'_>; 2],
    ) -> Result<Self> {
        let schema = Arc::new(join.left.schema().join(join.right.schema())?);
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&schema))
            .with_config_options(Arc::clone(state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let mut bounds = TimeBounds::new(file, inputs, &schema, &simplifier);
        let mut condition = Self {
            keys: Vec::new(),
            time_range: (0, 0),
            sums: Default::default(),
            own: Default::default(),
            both: Vec::new(),
        };
        let mut asked = Vec::new();
        let (written, predicates) = (conjuncts(written), conjuncts(join));
        if written.len() != predicates.len() {
            return Err(Error::internal("the condition of the join is not the one that was written"));
        }
        for (written, predicate) in written.into_iter().zip(predicates) {
            refuse_subquery(file, &predicate)?;
            let asks_all = bounds.read(&predicate)?;
            if let Some(key) = as_key(file, &written, &predicate, inputs, &schema)? {
                condition.keys.push(key);
            } else if !asks_all {
                asked.push((written, predicate));
            }
        }
        if condition.keys.is_empty() || !bounds.is_bounded() {
            for (_, predicate) in &asked {
                let simplified = simplifier.simplify(predicate.clone())?;
                for piece in split_conjunction_owned(simplified) {
                    bounds.read(&piece)?;
                    condition.keys.extend(as_key(file, &piece, &piece, inputs, &schema)?);
                }
            }
        }
        if condition.keys.is_empty() {
            return Err(refuse_at(file, "ON", "the join has no equality on a key").advise(format!(
                "add one to ON, for example {}.<key> = {}.<key>",
                inputs[0].alias, inputs[1].alias
            )));
        }
        condition.time_range = bounds.range()?;
        condition.sums = bounds.sums();
        for (predicate, _) in asked {
            match Side::BOTH.map(|side| is_of(&predicate, &inputs[side.index()].alias)) {
                [true, true] => condition.both.push(predicate),
                [true, false] => condition.own[0].push(predicate),
                [false, true] => condition.own[1].push(predicate),
                // What names neither side decides for both whether anything matches.
                [false, false] => condition.own.iter_mut().for_each(|own| own.push(predicate.clone())),
            }
        }
        Ok(condition)
    }

    /// The predicates beside keys and time range, for people and for the fingerprint.
    pub(crate) fn predicates(&self) -> Vec<String> {
        let mut predicates: Vec<String> =
            self.own.iter().flatten().chain(&self.both).map(ToString::to_string).collect();
        predicates.sort();
        predicates.dedup();
        predicates
    }
}

/// The predicates of a join's ON; BETWEEN is two.
pub(crate) fn conjuncts(join: &Join) -> Vec<Expr> {
    let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let filter = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
    let apart = |predicate: Expr| match predicate {
        Expr::Between(Between { expr, negated: false, low, high }) => {
            vec![expr.as_ref().clone().gt_eq(*low), expr.lt_eq(*high)]
        }
        other => vec![other],
    };
    keys.chain(filter).flat_map(apart).collect()
}

/// Whether `expr` names a column of `alias`.
fn is_of(expr: &Expr, alias: &TableReference) -> bool {
    expr.column_refs().iter().any(|column| column.relation.as_ref() == Some(alias))
}

/// The two sides of an equality across the join, left first, and whether it meets NULL with NULL.
pub(crate) fn equality<'e>(
    predicate: &'e Expr,
    aliases: [&TableReference; 2],
) -> Option<([&'e Expr; 2], bool)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate else { return None };
    let meets_null = match op {
        Operator::Eq => false,
        Operator::IsNotDistinctFrom => true,
        _ => return None,
    };
    let only = |expr: &Expr, side: usize| is_of(expr, aliases[side]) && !is_of(expr, aliases[1 - side]);
    let (left, right) = (left.as_ref(), right.as_ref());
    if only(left, 0) && only(right, 1) {
        Some(([left, right], meets_null))
    } else if only(left, 1) && only(right, 0) {
        Some(([right, left], meets_null))
    } else {
        None
    }
}

/// The key that `predicate` is, if it is one, of expressions as they are `written`.
fn as_key(
    file: &SqlFile,
    written: &Expr,
    predicate: &Expr,
    inputs: &[SourceSubtree<'_>; 2],
    schema: &DFSchema,
) -> Result<Option<KeyPair>> {
    let aliases = [&inputs[0].alias, &inputs[1].alias];
    let (Some((_, meets_null)), Some((written, _))) =
        (equality(predicate, aliases), equality(written, aliases))
    else {
        return Ok(None);
    };
    let Some(sides) = compile_key(file, written, schema)? else { return Ok(None) };
    let is_exact = !sides[0].get_type(schema)?.is_floating();
    Ok(Some(KeyPair { written: written.map(Clone::clone), sides, meets_null, is_exact }))
}

fn refuse_subquery(file: &SqlFile, predicate: &Expr) -> Result<()> {
    let has_subquery = predicate.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
        ))
    })?;
    if !has_subquery {
        return Ok(());
    }
    Err(refuse_at(file, "ON", format!("the condition of the join has a subquery: {predicate}"))
        .advise("look values up in a reference table from rules and outputs"))
}

/// The joins of streams that there are.
pub(crate) fn refuse_other_joins(file: &SqlFile, join: &Join) -> Result<()> {
    if matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
        return Ok(());
    }
    Err(refuse_at(file, "JOIN", format!("a {} join of streams is not supported", join.join_type))
        .advise("use INNER, LEFT, RIGHT or FULL JOIN"))
}

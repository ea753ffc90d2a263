//! An expression whose types are resolved: what it computes for a row, step by step, in PostgreSQL's order.
//!
//! AND, OR, CASE, COALESCE and IN ask no further than they need, from left to right, so that
//! `qty <> 0 AND amount / qty > 1` never divides by zero.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering as Atomic};

use arrow::array::ArrayRef;

use super::cast::cast;
use super::fault::Fault;
use super::types::SqlType;
use super::value::{Outcome, Value};
use super::vector::value_at;

/// The batch time that `now()` gives, in milliseconds; set before each run of a plan.
pub(crate) type Now = Arc<AtomicI64>;

/// A function or operator over values that are all not NULL (or may be, if it is not strict).
pub(crate) type Apply = Arc<dyn for<'a> Fn(&[Value<'a>]) -> Outcome<'a> + Send + Sync>;

/// An expression of known type.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) sql_type: SqlType,
    pub(crate) nullable: bool,
}

/// What an expression does.
#[derive(Clone)]
pub(crate) enum Kind {
    /// The value of an argument of the compiled function.
    Argument(usize),
    Literal(Value<'static>),
    Now(Now),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Is(Box<Node>, Test),
    Compare(Box<Node>, Comparison, Box<Node>),
    /// The first condition that is TRUE, and its value; else the last.
    Case(Vec<(Node, Node)>, Option<Box<Node>>),
    Coalesce(Vec<Node>),
    InList(Box<Node>, Vec<Node>),
    /// A conversion to a type.
    Cast(Box<Node>, SqlType, OnFault),
    Call(Apply, Vec<Node>, Nulls),
}

/// What becomes of a value that can't be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFault {
    /// The row has no result.
    Fail,
    /// TRY_CAST: it is NULL.
    Null,
}

/// What a function does with a NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// One NULL argument makes the result NULL.
    Strict,
    /// The function sees them.
    Seen,
    /// It sees them, and is not computed before it runs, as what depends on settings in PostgreSQL.
    SeenLater,
}

/// `IS [NOT] NULL`, TRUE, FALSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Null,
    NotNull,
    True,
    NotTrue,
    False,
    NotFalse,
}

/// A comparison of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// IS DISTINCT FROM: NULL is a value.
    Distinct,
    NotDistinct,
}

impl Node {
    pub(crate) fn literal(value: Value<'static>, sql_type: SqlType) -> Self {
        Self { nullable: value.is_null(), kind: Kind::Literal(value), sql_type }
    }

    /// A function that gives NULL for a NULL.
    pub(crate) fn strict(
        sql_type: SqlType,
        arguments: Vec<Node>,
        apply: impl for<'a> Fn(&[Value<'a>]) -> Outcome<'a> + Send + Sync + 'static,
    ) -> Self {
        let nullable = arguments.iter().any(|argument| argument.nullable);
        Self { kind: Kind::Call(Arc::new(apply), arguments, Nulls::Strict), sql_type, nullable }
    }

    /// A function that may give NULL whatever it gets.
    pub(crate) fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// A function that sees NULLs.
    pub(crate) fn seeing_nulls(
        sql_type: SqlType,
        arguments: Vec<Node>,
        nullable: bool,
        apply: impl for<'a> Fn(&[Value<'a>]) -> Outcome<'a> + Send + Sync + 'static,
    ) -> Self {
        Self { kind: Kind::Call(Arc::new(apply), arguments, Nulls::Seen), sql_type, nullable }
    }

    /// A function that sees NULLs and is no constant, whatever it gets.
    pub(crate) fn later(
        sql_type: SqlType,
        arguments: Vec<Node>,
        nullable: bool,
        apply: impl for<'a> Fn(&[Value<'a>]) -> Outcome<'a> + Send + Sync + 'static,
    ) -> Self {
        Self { kind: Kind::Call(Arc::new(apply), arguments, Nulls::SeenLater), sql_type, nullable }
    }

    /// `IS [NOT] NULL`, TRUE, FALSE of its value.
    pub(crate) fn is(self, test: Test) -> Self {
        Self { kind: Kind::Is(Box::new(self), test), sql_type: SqlType::Bool, nullable: false }
    }

    /// The constant that it is.
    pub(crate) fn as_literal(&self) -> Option<&Value<'static>> {
        match &self.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// It depends on no row, and is known when it is planned.
    fn is_constant(&self) -> bool {
        let all = |terms: &[Node]| terms.iter().all(Self::is_constant);
        match &self.kind {
            Kind::Literal(_) => true,
            Kind::Argument(_) | Kind::Now(_) | Kind::Call(_, _, Nulls::SeenLater) => false,
            Kind::And(terms) | Kind::Or(terms) | Kind::Coalesce(terms) | Kind::Call(_, terms, _) => {
                all(terms)
            }
            // How a time is shown and read depends on settings there.
            Kind::Cast(term, to, _) if *to == SqlType::Text && term.sql_type.is_time() => false,
            Kind::Cast(term, to, _) if term.sql_type == SqlType::Text && to.is_time() => false,
            Kind::Not(term) | Kind::Is(term, _) | Kind::Cast(term, _, _) => term.is_constant(),
            Kind::Compare(left, _, right) => left.is_constant() && right.is_constant(),
            Kind::Case(branches, otherwise) => {
                branches.iter().all(|(condition, value)| condition.is_constant() && value.is_constant())
                    && otherwise.as_deref().is_none_or(Self::is_constant)
            }
            Kind::InList(needle, items) => needle.is_constant() && all(items),
        }
    }

    /// A constant NULL where a NULL decides: nothing else is computed any more.
    fn is_null_whatever_else(&self) -> bool {
        let is_null = |term: &Node| term.as_literal().is_some_and(Value::is_null);
        match &self.kind {
            Kind::Call(_, terms, Nulls::Strict) => terms.iter().any(is_null),
            Kind::Compare(_, Comparison::Distinct | Comparison::NotDistinct, _) => false,
            Kind::Compare(left, _, right) => is_null(left) || is_null(right),
            Kind::InList(needle, _) => is_null(needle),
            _ => false,
        }
    }

    /// What is constant as the literal that it is, as PostgreSQL computes it when it plans; a constant term
    /// that decides an AND or OR does so wherever it stands.
    ///
    /// # Errors
    /// A constant that can't be computed.
    pub(crate) fn folded(mut self) -> Result<Self, Fault> {
        match &mut self.kind {
            Kind::Case(branches, otherwise) => {
                // A branch whose condition is known never to hold, and all behind one that always does.
                let known =
                    |condition: &Node| condition.as_literal().map(|value| value.as_bool() == Some(true));
                branches.retain(|(condition, _)| known(condition) != Some(false));
                if let Some(at) = branches.iter().position(|(condition, _)| known(condition) == Some(true)) {
                    let (_, value) = branches.swap_remove(at);
                    branches.truncate(at);
                    *otherwise = Some(Box::new(value));
                }
                if branches.is_empty() {
                    let null = || Self::literal(Value::Null, self.sql_type.clone());
                    return Ok(otherwise.take().map_or_else(null, |value| *value));
                }
            }
            Kind::Coalesce(terms) => {
                terms.retain(|term| !term.as_literal().is_some_and(Value::is_null));
                let first = terms.iter().position(|term| term.as_literal().is_some());
                terms.truncate(first.map_or(terms.len(), |at| at + 1));
            }
            _ => {}
        }
        if let Kind::And(terms) | Kind::Or(terms) = &self.kind {
            let decisive = matches!(self.kind, Kind::Or(_));
            if terms.iter().any(|term| term.as_literal().and_then(Value::as_bool) == Some(decisive)) {
                return Ok(Self::literal(Value::Bool(decisive), SqlType::Bool));
            }
        }
        if self.is_null_whatever_else() {
            return Ok(Self::literal(Value::Null, self.sql_type));
        }
        if self.as_literal().is_some() || !self.is_constant() {
            return Ok(self);
        }
        let value = self.evaluate(&[], 0)?.into_owned();
        Ok(Self::literal(value, self.sql_type))
    }

    /// Its value at a row of its arguments.
    pub(crate) fn evaluate<'a>(&'a self, columns: &'a [ArrayRef], row: usize) -> Outcome<'a> {
        Ok(match &self.kind {
            Kind::Argument(index) => value_at(columns[*index].as_ref(), row),
            Kind::Literal(value) => value.borrowed(),
            Kind::Now(now) => Value::Timestamp(i128::from(now.load(Atomic::Relaxed)) * 1_000_000),
            Kind::And(terms) => connect(terms, false, columns, row)?,
            Kind::Or(terms) => connect(terms, true, columns, row)?,
            Kind::Not(term) => match term.evaluate(columns, row)?.as_bool() {
                Some(value) => Value::Bool(!value),
                None => Value::Null,
            },
            Kind::Is(term, test) => {
                let value = term.evaluate(columns, row)?;
                Value::Bool(match test {
                    Test::Null => value.is_null(),
                    Test::NotNull => !value.is_null(),
                    Test::True => value.as_bool() == Some(true),
                    Test::NotTrue => value.as_bool() != Some(true),
                    Test::False => value.as_bool() == Some(false),
                    Test::NotFalse => value.as_bool() != Some(false),
                })
            }
            Kind::Compare(left, comparison, right) => {
                let (left, right) = (left.evaluate(columns, row)?, right.evaluate(columns, row)?);
                comparison.apply(&left, &right).map_or(Value::Null, Value::Bool)
            }
            Kind::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    if condition.evaluate(columns, row)?.as_bool() == Some(true) {
                        return value.evaluate(columns, row);
                    }
                }
                match otherwise {
                    Some(value) => value.evaluate(columns, row)?,
                    None => Value::Null,
                }
            }
            Kind::Coalesce(terms) => {
                for term in terms {
                    let value = term.evaluate(columns, row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Kind::InList(needle, items) => {
                let needle = needle.evaluate(columns, row)?;
                let mut found = Value::Bool(false);
                for item in items {
                    match Comparison::Equal.apply(&needle, &item.evaluate(columns, row)?) {
                        Some(true) => return Ok(Value::Bool(true)),
                        Some(false) => {}
                        None => found = Value::Null,
                    }
                }
                found
            }
            Kind::Cast(term, to, on_fault) => {
                let value = term.evaluate(columns, row)?;
                match (cast(value, &term.sql_type, to), on_fault) {
                    (Err(_), OnFault::Null) => Value::Null,
                    (outcome, _) => outcome?,
                }
            }
            Kind::Call(apply, arguments, nulls) => {
                // All of them, before a NULL decides: what can't be computed is no NULL.
                let values = arguments
                    .iter()
                    .map(|argument| argument.evaluate(columns, row))
                    .collect::<Result<Vec<_>, _>>()?;
                match nulls {
                    Nulls::Strict if values.iter().any(Value::is_null) => Value::Null,
                    _ => apply(&values)?,
                }
            }
        })
    }
}

/// AND (`decisive` FALSE) and OR (`decisive` TRUE): the first decisive term decides, otherwise a NULL.
fn connect<'a>(terms: &'a [Node], decisive: bool, columns: &'a [ArrayRef], row: usize) -> Outcome<'a> {
    let mut result = Value::Bool(!decisive);
    for term in terms {
        match term.evaluate(columns, row)?.as_bool() {
            Some(value) if value == decisive => return Ok(Value::Bool(decisive)),
            Some(_) => {}
            None => result = Value::Null,
        }
    }
    Ok(result)
}

impl Comparison {
    /// `None` for NULL.
    pub(crate) fn apply(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        let is_null = left.is_null() || right.is_null();
        let same = || match is_null {
            true => left.is_null() && right.is_null(),
            false => left.compare(right).is_eq(),
        };
        match self {
            Self::Distinct => return Some(!same()),
            Self::NotDistinct => return Some(same()),
            _ if is_null => return None,
            _ => {}
        }
        let order = left.compare(right);
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual | Self::Distinct | Self::NotDistinct => order.is_ge(),
        })
    }

    pub(crate) fn is_ordering(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(index) => write!(f, "argument {index}"),
            Self::Literal(value) => value.fmt(f),
            Self::Now(_) => f.write_str("now"),
            Self::And(terms) => write!(f, "AND {terms:?}"),
            Self::Or(terms) => write!(f, "OR {terms:?}"),
            Self::Not(term) => write!(f, "NOT {term:?}"),
            Self::Is(term, test) => write!(f, "{term:?} IS {test:?}"),
            Self::Compare(left, comparison, right) => write!(f, "{left:?} {comparison:?} {right:?}"),
            Self::Case(branches, otherwise) => write!(f, "CASE {branches:?} ELSE {otherwise:?}"),
            Self::Coalesce(terms) => write!(f, "COALESCE {terms:?}"),
            Self::InList(needle, items) => write!(f, "{needle:?} IN {items:?}"),
            Self::Cast(term, to, on_fault) => write!(f, "CAST {term:?} AS {to} ({on_fault:?})"),
            Self::Call(_, arguments, nulls) => write!(f, "call {arguments:?} ({nulls:?})"),
        }
    }
}

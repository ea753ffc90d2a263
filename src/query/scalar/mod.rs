//! What an expression of SQL means: PostgreSQL's value, or a refusal when it is planned.
//!
//! DataFusion parses a statement, resolves its names and runs the relational part (scans, joins, subqueries).
//! What an expression computes is decided here, once for rules, outputs, views and ON: types by PostgreSQL's
//! rules, values by its functions, each compiled into one function that no optimizer looks into. So a
//! verdict can't change because a comparison was rewritten, a literal took another type, or a
//! neighbouring row was NULL.
//!
//! ```text
//! Expr ─ bind (names, types) ─ Node ─ compiled (a function of columns) ─ evaluate, row by row
//!          │  operators, functions, casts            │
//!          └ refused: what PostgreSQL refuses,       └ numeric, time, text, list, pattern
//!            or would compute otherwise
//! ```
//!
//! `sql/README.md` is the page for people: types, functions, and the differences on purpose.

mod arithmetic;
mod bind;
mod cast;
mod catalog;
mod coerce;
mod compiled;
mod fault;
mod functions;
mod list;
mod node;
mod note;
mod numeric;
mod pattern;
mod plan;
mod refusal;
mod text;
pub(crate) mod time;
mod types;
mod value;
mod vector;

pub(crate) use catalog::{SyntaxPlanner, register};
pub(crate) use compiled::written;
pub(crate) use node::Now;
pub use note::Note;
pub(crate) use numeric::Numeric;
pub(crate) use plan::{Scalars, compile, compile_expr, compile_key};
pub(crate) use types::SqlType;
pub(crate) use vector::timestamp_nanos;

//! What a plan has, in words of SQL.

use datafusion::logical_expr::LogicalPlan;

use crate::error::Error;
use crate::query::sql_file::{SqlFile, find_word, refuse, refuse_at};

/// What a node of a plan is in SQL, and the words that may have made it, for a message that points at one.
pub(crate) fn in_sql(node: &LogicalPlan) -> (String, &'static [&'static str]) {
    let (name, words): (&str, &'static [&'static str]) = match node {
        LogicalPlan::Aggregate(_) => {
            ("GROUP BY or an aggregate", &["GROUP", "count", "sum", "min", "max", "avg"])
        }
        LogicalPlan::Distinct(_) => ("DISTINCT", &["DISTINCT"]),
        LogicalPlan::Join(_) => ("JOIN", &["JOIN", "WHERE"]),
        LogicalPlan::Limit(_) => ("LIMIT", &["LIMIT", "OFFSET", "FETCH"]),
        LogicalPlan::Sort(_) => ("ORDER BY", &["ORDER"]),
        LogicalPlan::Union(_) => ("UNION", &["UNION"]),
        LogicalPlan::Window(_) => ("a window", &["OVER"]),
        other => {
            let text = other.display().to_string();
            return (text.split([':', ' ']).next().unwrap_or_default().to_owned(), &[]);
        }
    };
    (name.to_owned(), words)
}

/// A refusal of a node of a plan, which points at the word that made it.
pub(crate) fn refuse_node(file: &SqlFile, what: &str, node: &LogicalPlan) -> Error {
    let (name, words) = in_sql(node);
    let message = format!("{what} can't use {name}");
    match words.iter().find(|word| find_word(&file.text, word).is_some()) {
        Some(word) => refuse_at(file, word, message),
        None => refuse(file, message),
    }
}

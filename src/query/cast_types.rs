//! The types that a CAST may name, and the intervals that may be written: those whose meaning planning keeps.
//!
//! DataFusion drops the length of `VARCHAR(3)` and takes a bare `DECIMAL` for one of ten places, without a
//! word; PostgreSQL cuts the text and keeps all digits. Such a type is refused with what to write instead.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Interval, Statement, TypedString, visit_expressions,
};

use crate::error::Result;
use crate::query::sql_file::{SqlFile, refuse_at};

/// Refuses types that would be read as others.
pub(crate) fn check(file: &SqlFile, statement: &Statement) -> Result<()> {
    let found = visit_expressions(statement, |expr| {
        let (data_type, word) = match expr {
            Expr::Cast { data_type, kind, .. } => match kind {
                CastKind::DoubleColon => (data_type, "::"),
                CastKind::TryCast => (data_type, "TRY_CAST"),
                _ => (data_type, "CAST"),
            },
            Expr::TypedString(TypedString { data_type, .. }) => (data_type, ""),
            Expr::Interval(interval) if !is_plain(interval) => {
                let advice = "write whole months and years, and fractions as '1.5 days' or '0.25 seconds', in one text";
                return ControlFlow::Break(("this INTERVAL".to_owned(), "INTERVAL", advice));
            }
            _ => return ControlFlow::Continue(()),
        };
        match advice(data_type) {
            Some(advice) => ControlFlow::Break((data_type.to_string(), word, advice)),
            None => ControlFlow::Continue(()),
        }
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((data_type, word, advice)) => {
            let word = if word.is_empty() { data_type.as_str() } else { word };
            let what = if word == "INTERVAL" { data_type.clone() } else { format!("a CAST to {data_type}") };
            Err(refuse_at(file, word, format!("{what} would not give what it says")).advise(advice))
        }
    }
}

/// Whether PostgreSQL reads an interval as it is read here: a fraction of a day, hour, minute or second, down to
/// microseconds, in one text with its unit. (It cuts `'1.5' DAY` to a day, and takes fractions of a month by days.)
fn is_plain(interval: &Interval) -> bool {
    let text = interval.value.to_string().trim_matches('\'').to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.iter().any(|word| word.contains("nano")) {
        return false;
    }
    let fractions: Vec<usize> = (0..words.len()).filter(|&at| words[at].contains('.')).collect();
    if fractions.is_empty() {
        return true;
    }
    let fields = ["day", "hour", "minute", "second", "min", "sec", "hr", "d", "h", "m", "s"];
    interval.leading_field.is_none()
        && fractions.iter().all(|&at| {
            let places = words[at].split('.').nth(1).map_or(0, str::len);
            let unit = words
                .get(at + 1)
                .map(|unit| unit.strip_suffix('s').filter(|unit| !unit.is_empty()).unwrap_or(unit));
            places <= 6 && unit.is_some_and(|unit| fields.contains(&unit))
        })
}

/// What to write instead of a type that would be read as another.
fn advice(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Varchar(Some(_)) | DataType::CharacterVarying(Some(_)) | DataType::CharVarying(Some(_)) => {
            Some("write left(…, n) to cut a text, VARCHAR for one of any length")
        }
        DataType::Char(_) | DataType::Character(_) | DataType::Nvarchar(_) => {
            Some("write VARCHAR, with rpad(…, n) for a fixed length")
        }
        DataType::Decimal(ExactNumberInfo::None)
        | DataType::Numeric(ExactNumberInfo::None)
        | DataType::Dec(ExactNumberInfo::None) => {
            Some("write its digits and places, for example DECIMAL(18, 2)")
        }
        DataType::Float(_) => Some("write DOUBLE, or REAL for single precision"),
        DataType::TinyInt(_) => Some("write SMALLINT"),
        DataType::TinyIntUnsigned(_)
        | DataType::SmallIntUnsigned(_)
        | DataType::IntUnsigned(_)
        | DataType::IntegerUnsigned(_)
        | DataType::BigIntUnsigned(_) => Some("write INT or BIGINT"),
        DataType::Array(_) => Some("write string_to_array(…) or [a, b]"),
        _ => None,
    }
}

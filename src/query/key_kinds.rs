//! The kinds of values that keys compare: a number meets a number, a text a text.
//!
//! DataFusion would turn one into the other, row by row, until a text comes that is no number. So keys of
//! two kinds are refused, as PostgreSQL does, with the CAST to write.

use arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::logical_expr::{ExprSchemable, Join};

use crate::error::Result;
use crate::query::join_condition::{conjuncts, equality};
use crate::query::sql_file::{SqlFile, refuse_at};

/// Refuses keys whose types differ in kind; `join` is as it was planned, before anything is coerced.
pub(crate) fn refuse_other_kinds(file: &SqlFile, join: &Join, aliases: [&TableReference; 2]) -> Result<()> {
    let schema = join.left.schema().join(join.right.schema())?;
    for predicate in conjuncts(join) {
        let Some((sides, _)) = equality(&predicate, aliases) else { continue };
        let types = [sides[0].get_type(&schema)?, sides[1].get_type(&schema)?];
        let kinds = [kind(&types[0]), kind(&types[1])];
        if kinds[0] == kinds[1] {
            continue;
        }
        // A text is what everything can become, and what need not become anything else.
        let text = usize::from(kinds[1] == "a text");
        let other = 1 - text;
        let advice = if kinds[text] == "a text" {
            format!(
                "write CAST({} AS VARCHAR) = {}, or TRY_CAST({} AS {}) = {}, which is NULL for a text that can't be read",
                sides[other],
                sides[text],
                sides[text],
                sql_name(&types[other]),
                sides[other]
            )
        } else {
            format!(
                "make them one kind by a CAST, for example CAST({} AS {}) = {}",
                sides[0],
                sql_name(&types[1]),
                sides[1]
            )
        };
        return Err(refuse_at(
            file,
            "ON",
            format!("the key {predicate} compares {} with {}", kinds[0], kinds[1]),
        )
        .advise(advice));
    }
    Ok(())
}

/// What values of a type are, in words; values of one kind can be compared.
fn kind(data_type: &DataType) -> &'static str {
    use DataType as T;
    match data_type {
        data_type if data_type.is_numeric() => "a number",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "a text",
        T::Boolean => "a boolean",
        T::Date32 | T::Date64 | T::Timestamp(_, _) => "a time",
        T::Time32(_) | T::Time64(_) => "a time of day",
        T::Interval(_) | T::Duration(_) => "an interval",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "bytes",
        T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::ListView(_) | T::LargeListView(_) => {
            "a list"
        }
        T::Struct(_) => "a struct",
        T::Map(_, _) => "a map",
        _ => "a value of another kind",
    }
}

/// A type as CAST names it.
fn sql_name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Boolean => "BOOLEAN".to_owned(),
        T::Int8 | T::Int16 => "SMALLINT".to_owned(),
        T::Int32 => "INT".to_owned(),
        T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => "BIGINT".to_owned(),
        T::Float32 => "REAL".to_owned(),
        T::Float64 => "DOUBLE".to_owned(),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        T::Date32 | T::Date64 => "DATE".to_owned(),
        T::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        T::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "BYTEA".to_owned(),
        _ => "VARCHAR".to_owned(),
    }
}

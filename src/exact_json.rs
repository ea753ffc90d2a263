//! JSON whose numbers keep all their digits, for comparing what came with what was expected.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::decode::parse_timestamp;
use crate::query::scalar::Numeric;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// # Errors
    /// The text is no JSON.
    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        let raw: &RawValue = serde_json::from_str(text)?;
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool(text == "true"),
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::List(
                    items
                        .into_iter()
                        .map(|item| Self::parse(item.get()))
                        .collect::<serde_json::Result<_>>()?,
                )
            }
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let parsed = fields.into_iter().map(|(name, value)| Ok((name, Self::parse(value.get())?)));
                Self::Object(parsed.collect::<serde_json::Result<_>>()?)
            }
            _ => Self::Number(text.to_owned()),
        })
    }

    /// Whether `row` has all fields of this object; nested values are compared whole.
    pub(crate) fn is_part_of(&self, row: &Self) -> bool {
        let (Self::Object(fields), Self::Object(row)) = (self, row) else { return false };
        fields.iter().all(|(name, value)| row.get(name).is_some_and(|found| value.equals(found)))
    }

    /// Numbers by value, exactly; times as instants.
    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => {
                let exact = (Numeric::parse(one), Numeric::parse(other));
                matches!(exact, (Some(one), Some(other)) if one.compare(&other).is_eq())
            }
            (Self::Text(one), Self::Text(other)) => {
                one == other
                    || matches!((parse_timestamp(one), parse_timestamp(other)), (Some(one), Some(other)) if one == other)
            }
            (Self::List(one), Self::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.equals(other))
            }
            (Self::Object(fields), Self::Object(found)) => {
                fields.len() == found.len() && self.is_part_of(other)
            }
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(","))
            }
            Self::Object(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
                write!(f, "{{{}}}", fields.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_part(wanted: &str, row: &str) -> bool {
        Json::parse(wanted).expect("JSON").is_part_of(&Json::parse(row).expect("JSON"))
    }

    #[test]
    fn numbers_are_compared_to_the_last_digit() {
        let row = r#"{"x":9007199254740990.00,"y":[{"z":1e-16}],"at":"2026-01-05T00:00:00Z","n":"9007199254740993"}"#;
        for (wanted, is_there) in [
            (r#"{"x":9007199254740990}"#, true),
            (r#"{"x":9007199254740990.01}"#, false),
            (r#"{"x":9007199254740991}"#, false),
            (r#"{"y":[{"z":0.0000000000000001}]}"#, true),
            (r#"{"y":[{"z":1e-17}]}"#, false),
            (r#"{"y":[{}]}"#, false),
            (r#"{"at":"2026-01-05T01:00:00+01:00"}"#, true),
            (r#"{"n":9007199254740993}"#, false),
            (r#"{"m":null}"#, false),
        ] {
            assert_eq!(is_part(wanted, row), is_there, "{wanted}");
        }
    }
}

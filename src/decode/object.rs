//! One JSON object: the text of each of its known names, borrowed; no name twice, no endless nesting.

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::SchemaRef;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting of arrays and objects that a record may have.
pub(super) const MAX_DEPTH: usize = 128;

/// What one object says of the columns.
pub(super) struct ObjectTexts<'a> {
    pub(super) columns: Vec<Option<&'a str>>,
    pub(super) unknown: Vec<Cow<'a, str>>,
}

/// The JSON text of each column, `None` where the object does not name it, and the names that are no column.
pub(super) fn texts<'a>(schema: &SchemaRef, text: &'a str) -> Result<ObjectTexts<'a>, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let texts = json.deserialize_map(ObjectVisitor { schema }).and_then(|texts| json.end().map(|()| texts));
    texts.map_err(|error| error.to_string())
}

/// Reads one object into the texts of its known columns.
struct ObjectVisitor<'s> {
    schema: &'s SchemaRef,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ObjectTexts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let repeated = |name: &str| serde::de::Error::custom(format!("the name \"{name}\" is there twice"));
        let mut texts = vec![None; self.schema.fields().len()];
        let mut unknown: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match self.schema.fields().iter().position(|field| *field.name() == *name) {
                Some(index) => {
                    let raw: &'de RawValue = map.next_value()?;
                    if texts[index].replace(raw.get()).is_some() {
                        return Err(repeated(&name));
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.push(name);
                }
            }
        }
        unknown.sort_unstable();
        match unknown.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(repeated(&pair[0])),
            None => Ok(ObjectTexts { columns: texts, unknown }),
        }
    }
}

/// Borrows a name where it has no escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Refuses nesting beyond [`MAX_DEPTH`]; serde_json skips unknown fields without counting.
pub(super) fn check_depth(value: &[u8]) -> Result<(), String> {
    let num_openings = value.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if num_openings <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
    }
    Ok(())
}

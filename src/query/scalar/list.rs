//! Functions of lists and structs. A NULL list gives NULL; a NULL within a list is no member of it.

use super::cast::{fits, out_of_range};
use super::coerce::{coerce, coerce_number, common_of, fold, literal_text};
use super::node::{Comparison, Kind, Node, Test};
use super::refusal::{Refusal, refuse};
use super::text::text;
use super::types::SqlType;
use super::value::{Value, int, str_of};

fn items<'v, 'a>(value: &'v Value<'a>) -> &'v [Value<'a>] {
    match value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn item_type(name: &str, node: &Node) -> Result<SqlType, Refusal> {
    match &node.sql_type {
        SqlType::List(item) => Ok(item.as_ref().clone()),
        other => Err(refuse(format!("{name} takes a list, not {other}")).at(name)),
    }
}

/// `[a, b]`.
pub(crate) fn make(terms: Vec<Node>) -> Result<Node, Refusal> {
    let (terms, item) = match terms.is_empty() {
        true => (terms, SqlType::Text),
        false => common_of(terms, "a list")?,
    };
    Ok(Node::seeing_nulls(SqlType::List(Box::new(item)), terms, false, |values| {
        Ok(Value::List(values.to_vec()))
    }))
}

/// `string_to_array(text, separator[, null])`: an empty text is an empty list; a NULL separator parts all characters.
pub(crate) fn from_text(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let nullable = arguments[0].nullable;
    let list = SqlType::List(Box::new(SqlType::Text));
    Ok(Node::seeing_nulls(list, arguments, nullable, |values| {
        if values[0].is_null() {
            return Ok(Value::Null);
        }
        let text = str_of(&values[0]);
        let parts: Vec<String> = match &values[1] {
            _ if text.is_empty() => Vec::new(),
            Value::Text(separator) if separator.is_empty() => vec![text.to_owned()],
            Value::Text(separator) => text.split(separator.as_ref()).map(str::to_owned).collect(),
            _ => text.chars().map(String::from).collect(),
        };
        let null = values.get(2).filter(|null| !null.is_null()).map(str_of);
        let item = |part: String| if Some(part.as_str()) == null { Value::Null } else { Value::text(part) };
        Ok(Value::List(parts.into_iter().map(item).collect()))
    }))
}

/// `array_to_string(list, separator[, null])`: NULLs are left out, or shown as `null`.
pub(crate) fn to_text(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let mut given = arguments.into_iter();
    let list = given.next().ok_or_else(|| refuse("array_to_string takes a list"))?;
    let item = item_type("array_to_string", &list)?;
    if !super::cast::is_allowed(&item, &SqlType::Text) || matches!(item, SqlType::List(_) | SqlType::Bool) {
        return Err(refuse(format!("array_to_string can't show {item}")).at("array_to_string"));
    }
    let rest = given.map(text).collect::<Result<Vec<_>, _>>()?;
    let arguments: Vec<Node> = std::iter::once(list).chain(rest).collect();
    let nullable = arguments.iter().take(2).any(|argument| argument.nullable);
    Ok(Node::later(SqlType::Text, arguments, nullable, move |values| {
        if values[0].is_null() || values[1].is_null() {
            return Ok(Value::Null);
        }
        let null = values.get(2).filter(|null| !null.is_null()).map(str_of);
        let shown = items(&values[0]).iter().filter_map(|value| match value.is_null() {
            true => null.map(str::to_owned),
            false => Some(super::cast::to_text(value, &item)),
        });
        Ok(Value::text(shown.collect::<Vec<_>>().join(str_of(&values[1]))))
    }))
}

/// `array_length(list[, 1])`: NULL for an empty list, as in PostgreSQL.
pub(crate) fn length(list: Node, dimension: Option<Node>) -> Result<Node, Refusal> {
    item_type("array_length", &list)?;
    if dimension.is_some_and(|dimension| !matches!(dimension.as_literal(), Some(Value::Int(1)))) {
        return Err(refuse("array_length counts the first dimension")
            .at("array_length")
            .advise("write array_length(list, 1)"));
    }
    let counted = Node::strict(SqlType::Int(4), vec![list], |values| {
        let count = items(&values[0]).len() as i64;
        Ok(if count == 0 { Value::Null } else { Value::Int(count) })
    });
    Ok(counted.nullable())
}

/// How many items there are.
pub(crate) fn cardinality(list: Node) -> Result<Node, Refusal> {
    if matches!(item_type("cardinality", &list)?, SqlType::List(_)) {
        return Err(refuse("cardinality of a list of lists")
            .at("cardinality")
            .advise("write array_length(list, 1)"));
    }
    Ok(Node::strict(SqlType::Int(4), vec![list], |values| Ok(Value::Int(items(&values[0]).len() as i64))))
}

/// The list and a value of its items' type.
fn with_item(name: &str, list: Node, value: Node) -> Result<[Node; 2], Refusal> {
    let item = item_type(name, &list)?;
    let Some(common) = item.common(&value.sql_type) else {
        return Err(refuse(format!("{name} can't look for {} among {item}", value.sql_type)).at(name));
    };
    let list = coerce(list, &SqlType::List(Box::new(common.clone())))?;
    Ok([list, coerce(value, &common)?])
}

fn both_lists(name: &str, left: Node, right: Node) -> Result<Vec<Node>, Refusal> {
    let (one, other) = (item_type(name, &left)?, item_type(name, &right)?);
    let Some(common) = one.common(&other) else {
        return Err(refuse(format!("{name} can't compare lists of {one} and {other}")).at(name));
    };
    let list = SqlType::List(Box::new(common));
    Ok(vec![coerce(left, &list)?, coerce(right, &list)?])
}

/// `array_has(list, value)` is `value = ANY (list)`: NULL if it is not found among NULLs.
pub(crate) fn has(list: Node, value: Node) -> Result<Node, Refusal> {
    let both: Vec<Node> = with_item("array_has", list, value)?.into();
    Ok(Node::seeing_nulls(SqlType::Bool, both, true, |values| {
        if values[0].is_null() {
            return Ok(Value::Null);
        }
        let mut outcome = Value::Bool(false);
        for item in items(&values[0]) {
            match Comparison::Equal.apply(item, &values[1]) {
                Some(true) => return Ok(Value::Bool(true)),
                Some(false) => {}
                None => outcome = Value::Null,
            }
        }
        Ok(outcome)
    }))
}

fn contains(list: &[Value<'_>], value: &Value<'_>) -> bool {
    list.iter().any(|item| Comparison::Equal.apply(item, value) == Some(true))
}

/// `left @> right`: every item of the second is in the first; a NULL never is.
pub(crate) fn has_all(left: Node, right: Node) -> Result<Node, Refusal> {
    let both = both_lists("array_has_all", left, right)?;
    Ok(Node::strict(SqlType::Bool, both, |values| {
        Ok(Value::Bool(items(&values[1]).iter().all(|value| contains(items(&values[0]), value))))
    }))
}

/// `left && right`: they have an item in common.
pub(crate) fn has_any(left: Node, right: Node) -> Result<Node, Refusal> {
    let both = both_lists("array_has_any", left, right)?;
    Ok(Node::strict(SqlType::Bool, both, |values| {
        Ok(Value::Bool(items(&values[1]).iter().any(|value| contains(items(&values[0]), value))))
    }))
}

/// `list[i]`, from 1; NULL where there is none. Of a NULL list the index is not asked for.
pub(crate) fn element(list: Node, index: Node) -> Result<Node, Refusal> {
    let item = item_type("an index", &list)?;
    let index = coerce_number("an index", index, &SqlType::Int(8))?;
    if let Some(Value::Int(constant)) = index.as_literal() {
        fits(*constant, 4)
            .ok_or_else(|| refuse(format!("there is no item {constant}: an index is an INT")))?;
    }
    let is_missing = list.clone().is(Test::Null);
    let element = Node::strict(item.clone(), vec![list, index], |values| {
        // PostgreSQL counts items by INT; a larger number is an error, not a place without an item.
        let index = fits(int(&values[1]), 4).ok_or_else(|| out_of_range(&SqlType::Int(4)))?;
        let at = usize::try_from(index - 1).ok();
        Ok(at.and_then(|at| items(&values[0]).get(at)).cloned().unwrap_or(Value::Null))
    });
    let missing = Node::literal(Value::Null, item.clone());
    let kind = Kind::Case(vec![(fold(is_missing)?, missing)], Some(Box::new(fold(element.nullable())?)));
    Ok(Node { kind, sql_type: item, nullable: true })
}

/// The place of the first equal item, from 1; NULL is found among NULLs.
pub(crate) fn position(list: Node, value: Node) -> Result<Node, Refusal> {
    let both: Vec<Node> = with_item("array_position", list, value)?.into();
    Ok(Node::seeing_nulls(SqlType::Int(4), both, true, |values| {
        let at = items(&values[0])
            .iter()
            .position(|item| Comparison::NotDistinct.apply(item, &values[1]) == Some(true));
        Ok(at.map_or(Value::Null, |at| Value::Int(at as i64 + 1)))
    }))
}

/// `value['name']`.
pub(crate) fn field(value: Node, name: &Node) -> Result<Node, Refusal> {
    let Some(name) = literal_text(name) else {
        return Err(refuse("the name of a field has to be a literal"));
    };
    let SqlType::Struct(fields) = &value.sql_type else {
        return Err(refuse(format!("{} has no field \"{name}\"", value.sql_type)).at(name));
    };
    let Some(at) = fields.iter().position(|(field, _)| field == name) else {
        let known: Vec<&str> = fields.iter().map(|(field, _)| field.as_str()).collect();
        return Err(refuse(format!("there is no field \"{name}\""))
            .at(name)
            .advise(format!("its fields are {}", known.join(", "))));
    };
    let sql_type = fields[at].1.clone();
    let part = Node::strict(sql_type, vec![value], move |values| match &values[0] {
        Value::Struct(parts) => Ok(parts.get(at).cloned().unwrap_or(Value::Null)),
        _ => Ok(Value::Null),
    });
    Ok(part.nullable())
}

/// `named_struct('a', x, 'b', y)`.
pub(crate) fn named_struct(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut given = arguments.into_iter();
    while let (Some(name), Some(value)) = (given.next(), given.next()) {
        let Some(name) = literal_text(&name) else {
            return Err(refuse("the names of named_struct have to be literals").at("named_struct"));
        };
        names.push(name.to_owned());
        values.push(value);
    }
    Ok(assemble(names, values))
}

/// `struct(x, y)`: fields c0, c1.
pub(crate) fn structure(values: Vec<Node>) -> Node {
    assemble((0..values.len()).map(|at| format!("c{at}")).collect(), values)
}

fn assemble(names: Vec<String>, values: Vec<Node>) -> Node {
    let fields =
        names.into_iter().zip(&values).map(|(name, value)| (name, settled(&value.sql_type))).collect();
    Node::seeing_nulls(SqlType::Struct(fields), values, false, |values| Ok(Value::Struct(values.to_vec())))
}

/// A quoted literal alone is a text.
fn settled(sql_type: &SqlType) -> SqlType {
    if *sql_type == SqlType::Unknown { SqlType::Text } else { sql_type.clone() }
}

//! Functions of texts; characters are Unicode's, positions begin at 1, as in PostgreSQL.

use std::borrow::Cow;

use base64::Engine as _;

use super::coerce::{coerce, coerce_number, literal_text};
use super::fault::Fault;
use super::node::Node;
use super::refusal::{Refusal, refuse};
use super::types::SqlType;
use super::value::{Value, int, str_of};

/// The longest text that a function makes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The argument as a text; PostgreSQL makes none of a number unasked.
pub(crate) fn text(node: Node) -> Result<Node, Refusal> {
    match node.sql_type {
        SqlType::Text | SqlType::Unknown => coerce(node, &SqlType::Text),
        ref other => {
            Err(refuse(format!("a VARCHAR is expected, not {other}")).advise("write CAST(… AS VARCHAR)"))
        }
    }
}

fn whole(node: Node) -> Result<Node, Refusal> {
    coerce_number("a text function", node, &SqlType::Int(4))
}

/// A function from a text to a text.
pub(crate) fn of_text(
    node: Node,
    apply: impl Fn(&str) -> Result<String, Fault> + Send + Sync + 'static,
) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Text, vec![text(node)?], move |values| {
        Ok(Value::text(apply(str_of(&values[0]))?))
    }))
}

pub(crate) fn test(
    value: Node,
    part: Node,
    apply: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Bool, vec![text(value)?, text(part)?], move |values| {
        Ok(Value::Bool(apply(str_of(&values[0]), str_of(&values[1]))))
    }))
}

/// Character by character, as PostgreSQL does: `ß` has no capital of one character and stays.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

pub(crate) fn upper(text: &str) -> String {
    text.chars().map(upper_char).collect()
}

pub(crate) fn lower_char(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn upper_char(c: char) -> char {
    let mut upper = c.to_uppercase();
    upper.next().filter(|_| upper.next().is_none()).unwrap_or(c)
}

/// The first letter of each word is a capital; words are letters and digits.
pub(crate) fn initcap(text: &str) -> String {
    let mut in_word = false;
    text.chars()
        .map(|c| {
            let is_first = !std::mem::replace(&mut in_word, c.is_alphanumeric());
            if is_first { upper_char(c) } else { lower_char(c) }
        })
        .collect()
}

pub(crate) fn trim(arguments: Vec<Node>, start: bool, end: bool) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Node::strict(SqlType::Text, arguments, move |values| {
        let cut: Vec<char> = values.get(1).map_or_else(|| vec![' '], |set| str_of(set).chars().collect());
        let mut text = str_of(&values[0]);
        if start {
            text = text.trim_start_matches(|c| cut.contains(&c));
        }
        if end {
            text = text.trim_end_matches(|c| cut.contains(&c));
        }
        Ok(Value::text(text.to_owned()))
    }))
}

pub(crate) fn length(node: Node) -> Result<Node, Refusal> {
    if node.sql_type == SqlType::Bytes {
        return octet_length(node);
    }
    Ok(Node::strict(SqlType::Int(4), vec![text(node)?], |values| {
        Ok(Value::Int(str_of(&values[0]).chars().count() as i64))
    }))
}

pub(crate) fn octet_length(node: Node) -> Result<Node, Refusal> {
    let node = if node.sql_type == SqlType::Bytes { node } else { text(node)? };
    Ok(Node::strict(SqlType::Int(4), vec![node], |values| {
        Ok(Value::Int(match &values[0] {
            Value::Bytes(bytes) => bytes.len() as i64,
            other => str_of(other).len() as i64,
        }))
    }))
}

/// `substr(text, start[, length])`: what lies before the first character counts against the length.
pub(crate) fn substring(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let mut given = arguments.into_iter();
    let value = given.next().map(text).transpose()?;
    let mut all: Vec<Node> = value.into_iter().collect();
    for part in given {
        if part.sql_type == SqlType::Text {
            return Err(refuse("substring with a pattern is not supported")
                .at("substring")
                .advise("write split_part, or text ~ 'pattern' for a condition"));
        }
        all.push(whole(part)?);
    }
    Ok(Node::strict(SqlType::Text, all, |values| {
        let start = int(&values[1]);
        let end = match values.get(2) {
            Some(length) if int(length) < 0 => {
                return Err(Fault::new("negative substring length not allowed"));
            }
            Some(length) => start.saturating_add(int(length)),
            None => i64::MAX,
        };
        let text = str_of(&values[0]);
        let skipped = (start.max(1) - 1) as usize;
        let taken = (end.max(1) - start.max(1)).max(0) as usize;
        Ok(Value::text(text.chars().skip(skipped).take(taken).collect::<String>()))
    }))
}

/// The first `n` characters; all but the last −n.
pub(crate) fn left(value: Node, count: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Text, vec![text(value)?, whole(count)?], |values| {
        let (text, count) = (str_of(&values[0]), int(&values[1]));
        let length = text.chars().count() as i64;
        let taken = if count < 0 { (length + count).max(0) } else { count };
        Ok(Value::text(text.chars().take(taken as usize).collect::<String>()))
    }))
}

/// The last `n` characters; all but the first −n.
pub(crate) fn right(value: Node, count: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Text, vec![text(value)?, whole(count)?], |values| {
        let (text, count) = (str_of(&values[0]), int(&values[1]));
        let length = text.chars().count() as i64;
        let skipped = if count < 0 { -count } else { (length - count).max(0) };
        Ok(Value::text(text.chars().skip(skipped as usize).collect::<String>()))
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    Left,
    Right,
}

/// Filled to a length, or cut to it, at the end.
pub(crate) fn pad(arguments: Vec<Node>, padding: Padding) -> Result<Node, Refusal> {
    let mut given = arguments.into_iter();
    let (value, length) = (given.next().map(text).transpose()?, given.next().map(whole).transpose()?);
    let fill = given.next().map(text).transpose()?;
    let all: Vec<Node> = value.into_iter().chain(length).chain(fill).collect();
    Ok(Node::strict(SqlType::Text, all, move |values| {
        let (text, length) = (str_of(&values[0]), int(&values[1]).max(0) as usize);
        limit(length)?;
        let fill: Vec<char> = values.get(2).map_or_else(|| vec![' '], |fill| str_of(fill).chars().collect());
        let missing = length.saturating_sub(text.chars().count());
        let missing = if fill.is_empty() { 0 } else { missing };
        let filling: String = fill.iter().cycle().take(missing).collect();
        let kept: String = text.chars().take(length).collect();
        Ok(Value::text(match padding {
            Padding::Left => filling + &kept,
            Padding::Right => kept + &filling,
        }))
    }))
}

fn limit(bytes: usize) -> Result<(), Fault> {
    if bytes > MAX_BYTES { Err(Fault::new("requested length too large")) } else { Ok(()) }
}

pub(crate) fn replace(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Node::strict(SqlType::Text, arguments, |values| {
        let (text, from, to) = (str_of(&values[0]), str_of(&values[1]), str_of(&values[2]));
        if from.is_empty() {
            return Ok(Value::text(text.to_owned()));
        }
        limit(text.len() + text.matches(from).count() * to.len())?;
        Ok(Value::text(text.replace(from, to)))
    }))
}

/// Each character of the second argument becomes that of the third at its place, or goes.
pub(crate) fn translate(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Node::strict(SqlType::Text, arguments, |values| {
        let from: Vec<char> = str_of(&values[1]).chars().collect();
        let to: Vec<char> = str_of(&values[2]).chars().collect();
        let changed =
            str_of(&values[0]).chars().filter_map(|c| match from.iter().position(|known| *known == c) {
                Some(at) => to.get(at).copied(),
                None => Some(c),
            });
        Ok(Value::text(changed.collect::<String>()))
    }))
}

/// `a || b`: a text beside anything, or two texts; NULL makes it NULL.
pub(crate) fn concatenate(left: Node, right: Node) -> Result<Node, Refusal> {
    let is_text = |node: &Node| matches!(node.sql_type, SqlType::Text | SqlType::Unknown);
    if !is_text(&left) && !is_text(&right) {
        return Err(refuse(format!("there is no {} || {}", left.sql_type, right.sql_type))
            .advise("CAST one side to VARCHAR"));
    }
    let both = vec![shown(left)?, shown(right)?];
    Ok(Node::strict(SqlType::Text, both, |values| {
        limit(str_of(&values[0]).len() + str_of(&values[1]).len())?;
        Ok(Value::text(format!("{}{}", str_of(&values[0]), str_of(&values[1]))))
    }))
}

/// The argument as it is shown.
fn shown(node: Node) -> Result<Node, Refusal> {
    match node.sql_type.clone() {
        SqlType::Text | SqlType::Unknown => coerce(node, &SqlType::Text),
        from if super::cast::is_allowed(&from, &SqlType::Text) => coerce(node, &SqlType::Text),
        other => Err(refuse(format!("{other} can't be a part of a text")).advise("write CAST(… AS VARCHAR)")),
    }
}

/// All arguments that are not NULL, one behind the other.
pub(crate) fn concat(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(shown_in_concat).collect::<Result<Vec<_>, _>>()?;
    Ok(Node::later(SqlType::Text, arguments, false, |values| {
        limit(values.iter().map(|value| str_of(value).len()).sum())?;
        Ok(Value::text(values.iter().map(str_of).collect::<String>()))
    }))
}

pub(crate) fn concat_with_separator(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let arguments = arguments.into_iter().map(shown_in_concat).collect::<Result<Vec<_>, _>>()?;
    let nullable = arguments.first().is_some_and(|separator| separator.nullable);
    Ok(Node::later(SqlType::Text, arguments, nullable, |values| {
        if values[0].is_null() {
            return Ok(Value::Null);
        }
        let parts: Vec<&str> = values[1..].iter().filter(|value| !value.is_null()).map(str_of).collect();
        limit(parts.iter().map(|part| part.len() + str_of(&values[0]).len()).sum())?;
        Ok(Value::text(parts.join(str_of(&values[0]))))
    }))
}

/// PostgreSQL's concat calls the output function of a type, which shows a boolean as t or f.
fn shown_in_concat(node: Node) -> Result<Node, Refusal> {
    if node.sql_type == SqlType::Bool {
        return Ok(Node::strict(SqlType::Text, vec![node], |values| {
            Ok(Value::text(if values[0].as_bool() == Some(true) { "t" } else { "f" }))
        }));
    }
    shown(node)
}

pub(crate) fn position(value: Node, part: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Int(4), vec![text(value)?, text(part)?], |values| {
        let text = str_of(&values[0]);
        let at = text.find(str_of(&values[1]));
        Ok(Value::Int(at.map_or(0, |at| text[..at].chars().count() as i64 + 1)))
    }))
}

pub(crate) fn repeat(value: Node, count: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Text, vec![text(value)?, whole(count)?], |values| {
        let (text, count) = (str_of(&values[0]), int(&values[1]).max(0) as usize);
        limit(text.len().saturating_mul(count))?;
        Ok(Value::text(text.repeat(count)))
    }))
}

/// The n-th part between separators, from the end for a negative n; empty beyond the last.
pub(crate) fn split_part(arguments: Vec<Node>) -> Result<Node, Refusal> {
    let mut given = arguments.into_iter();
    let (value, separator) = (given.next().map(text).transpose()?, given.next().map(text).transpose()?);
    let index = given.next().map(whole).transpose()?;
    let all: Vec<Node> = value.into_iter().chain(separator).chain(index).collect();
    Ok(Node::strict(SqlType::Text, all, |values| {
        let (text, separator, index) = (str_of(&values[0]), str_of(&values[1]), int(&values[2]));
        if index == 0 {
            return Err(Fault::new("field position must not be zero"));
        }
        let parts: Vec<&str> = match separator.is_empty() {
            true => vec![text],
            false => text.split(separator).collect(),
        };
        let at = if index > 0 { index - 1 } else { parts.len() as i64 + index };
        let part = usize::try_from(at).ok().and_then(|at| parts.get(at));
        Ok(Value::text(part.map_or_else(String::new, |part| (*part).to_owned())))
    }))
}

/// The code of the first character; 0 for an empty text.
pub(crate) fn ascii(node: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Int(4), vec![text(node)?], |values| {
        Ok(Value::Int(str_of(&values[0]).chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    }))
}

pub(crate) fn chr(node: Node) -> Result<Node, Refusal> {
    Ok(Node::strict(SqlType::Text, vec![whole(node)?], |values| {
        let code = u32::try_from(int(&values[0])).ok().filter(|code| *code != 0);
        match code.and_then(char::from_u32) {
            Some(c) => Ok(Value::text(c.to_string())),
            None => Err(Fault::new(format!("{} is no character", int(&values[0])))),
        }
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn format_of(node: &Node) -> Result<String, Refusal> {
    match literal_text(node).map(str::to_lowercase) {
        Some(format) if ["hex", "base64"].contains(&format.as_str()) => Ok(format),
        _ => Err(refuse("the format of encode and decode is 'hex' or 'base64'")),
    }
}

/// Bytes as text.
pub(crate) fn encode(value: Node, format: Node) -> Result<Node, Refusal> {
    let format = format_of(&format)?;
    if value.sql_type != SqlType::Bytes {
        return Err(refuse(format!("encode takes bytes, not {}", value.sql_type)).at("encode"));
    }
    Ok(Node::strict(SqlType::Text, vec![value], move |values| {
        let Value::Bytes(bytes) = &values[0] else { return Ok(Value::Null) };
        if format == "hex" {
            return Ok(Value::text(hex(bytes)));
        }
        // PostgreSQL breaks lines after 76 characters, as MIME does.
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        let mut lines = Vec::new();
        let mut rest = encoded.as_str();
        while rest.len() > 76 {
            let (line, tail) = rest.split_at(76);
            lines.push(line);
            rest = tail;
        }
        lines.push(rest);
        Ok(Value::text(lines.join("\n")))
    }))
}

/// Text as bytes.
pub(crate) fn decode(value: Node, format: Node) -> Result<Node, Refusal> {
    let format = format_of(&format)?;
    Ok(Node::strict(SqlType::Bytes, vec![text(value)?], move |values| {
        let text: String = str_of(&values[0]).chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let invalid = || Fault::new(format!("invalid {format} text"));
        let bytes = if format == "hex" {
            if !text.len().is_multiple_of(2) || !text.is_ascii() {
                return Err(invalid());
            }
            if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            (0..text.len() / 2)
                .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| invalid()))
                .collect::<Result<Vec<u8>, _>>()?
        } else {
            base64::engine::general_purpose::STANDARD.decode(&text).map_err(|_| invalid())?
        };
        Ok(Value::Bytes(Cow::Owned(bytes)))
    }))
}

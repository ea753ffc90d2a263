//! One SQL file, and errors that point into it: file, line, column, the line itself, a caret.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::Error;
use crate::query::dialect::SqlDialect;
use crate::query::other_functions::advice;
use crate::query::planner_words::{Complaint, in_our_words};

/// One SQL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFile {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// Its text, variables filled in.
    pub text: String,
}

/// A refusal of something in `file`.
pub(crate) fn refuse(file: &SqlFile, message: impl std::fmt::Display) -> Error {
    Error::config(format!("{}: {message}", file.path))
}

/// A refusal that points at the first place where the word `at` stands, outside of strings and comments.
pub(crate) fn refuse_at(file: &SqlFile, at: &str, message: impl std::fmt::Display) -> Error {
    match find_word(&file.text, at) {
        Some(place) => Error::config(underlined(file, place, &message.to_string(), at.chars().count())),
        None => refuse(file, message),
    }
}

/// Line and column of the first token that reads `word`, whatever the case.
pub(crate) fn find_word(text: &str, word: &str) -> Option<(u64, u64)> {
    let tokens = Tokenizer::new(&SqlDialect, text).tokenize_with_location().ok()?;
    let reads = |token: &Token| match token {
        Token::Word(found) => found.value.eq_ignore_ascii_case(word),
        Token::SingleQuotedString(found) => found == word,
        Token::Whitespace(_) => false,
        other => other.to_string() == word,
    };
    let found = tokens.iter().find(|token| reads(&token.token))?;
    Some((found.span.start.line, found.span.start.column))
}

/// `file:line:column: message`, the line, and a caret below the place.
pub(crate) fn underlined(file: &SqlFile, (line, column): (u64, u64), message: &str, width: usize) -> String {
    let (headline, notes) = message.split_once('\n').unwrap_or((message, ""));
    let mut text = format!("{}:{line}:{column}: {headline}", file.path);
    if let Some(code) = file.text.lines().nth(line.saturating_sub(1) as usize) {
        let margin = " ".repeat(line.to_string().len());
        let indent = " ".repeat(column.saturating_sub(1) as usize);
        let carets = "^".repeat(width.max(1));
        text.push_str(&format!("\n {margin} |\n {line} | {code}\n {margin} | {indent}{carets}"));
    }
    for note in notes.lines() {
        text.push_str(&format!("\n  note: {note}"));
    }
    text
}

/// DataFusion's complaint about `file`, with the line and a caret where it knows the place.
pub(crate) fn sql_error(file: &SqlFile, error: &DataFusionError) -> Error {
    let Complaint { message, place, note, help } = in_our_words(&error.find_root().strip_backtrace());
    // The nearest name of a function is nearest by letters alone, and differs from run to run.
    let is_function = message.starts_with("there is no function");
    let mut helps = Vec::new();
    let mut place = place;
    if let Some(diagnostic) = error.diagnostic() {
        place = diagnostic.span.map(|span| (span.start.line, span.start.column)).or(place);
        let notes = diagnostic.notes.iter().map(|note| note.message.clone());
        helps.extend(notes.chain(diagnostic.helps.iter().map(|help| help.message.clone())));
    }
    if is_function {
        helps = vec![advice(message.split('\'').nth(1).unwrap_or_default()).to_owned()];
    }
    if let Some(help) = help {
        helps = if help.is_empty() { Vec::new() } else { vec![help] };
    }
    if let Some((_, name)) =
        message.split_once("unqualified field name ").filter(|_| message.contains("ambiguous"))
    {
        let name = name.split(' ').next().unwrap_or_default().to_owned();
        return refuse_at(file, &name, format!("the field \"{name}\" is there twice"))
            .advise("rename one with AS");
    }
    let mut width = diagnostic_width(error);
    if place.is_none()
        && let Some(name) = message.split('\'').nth(1)
    {
        place = find_word(&file.text, name);
        width = name.chars().count();
    }
    let message = match note {
        Some(note) => format!("{message}\n{note}"),
        None => message,
    };
    let text = match place {
        Some(place) => underlined(file, place, &message, width),
        None => format!("{}: {message}", file.path),
    };
    let error = Error::config(text);
    if helps.is_empty() { error } else { error.advise(helps.join("; ")) }
}

/// How many characters the place of an error covers.
fn diagnostic_width(error: &DataFusionError) -> usize {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    span.filter(|span| span.start.line == span.end.line)
        .map_or(1, |span| span.end.column.saturating_sub(span.start.column) as usize)
}

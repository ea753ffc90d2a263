//! The SQL folder as it is planned, stored and hashed: its files with `${NAME}` filled in.
//!
//! The text is part of the checkpoint (`sql/<hash>`), so that a pending batch runs again with the
//! SQL it was planned with, whatever the folder says by then.

use std::fs;
use std::path::{Path, PathBuf};

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::query::dialect::SqlDialect;
use crate::query::reference::{self, ReferenceFile};
use crate::query::sql_file::{SqlFile, underlined};

/// More text than this in one file is a mistake.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How many operators one expression may chain; far below what overflows the planner's stack.
const MAX_CHAINED_OPERATORS: usize = 300;

/// All `*.sql` files of a folder, in path order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFolder {
    /// What messages call it.
    pub root: PathBuf,
    /// Its files.
    pub files: Vec<SqlFile>,
    /// The files of its reference tables.
    pub references: Vec<ReferenceFile>,
}

impl SqlFolder {
    /// Reads the folder with the files of its reference tables, and fills in `${NAME}` and
    /// `${NAME:-default}` from `variable`.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) names the file that can't be read or the
    /// variable that is not set.
    pub fn read(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut paths = Vec::new();
        list_sql_files(root, &mut paths)?;
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).map_err(|source| cannot_read(&path, source))?;
            let text = fill_in(&relative, &text, &variable)?;
            files.push(SqlFile { path: relative, text });
        }
        if files.is_empty() {
            return Err(Error::config(format!("the SQL folder \"{}\" has no *.sql file", root.display()))
                .advise(
                    "give the folder that holds sources/, the join view, rules/ and outputs/ with --sql",
                ));
        }
        let mut folder = Self { root: root.to_owned(), files, references: Vec::new() };
        folder.references = reference::read_files(root, &folder.files)?;
        Ok(folder)
    }

    /// The SHA-256 of paths and contents, in hexadecimal: the program's name in the checkpoint.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |part: &[u8]| {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        for file in &self.files {
            add(file.path.as_bytes());
            add(file.text.as_bytes());
        }
        for file in &self.references {
            add(file.location.as_bytes());
            add(file.name.as_bytes());
            add(&file.bytes);
        }
        hex(&hasher.finalize())
    }
}

/// `bytes` in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list_sql_files(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|source| cannot_read(folder, source))?;
    for entry in entries {
        let path = entry.map_err(|source| cannot_read(folder, source))?.path();
        if path.is_dir() {
            list_sql_files(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            let length = fs::metadata(&path).map_err(|source| cannot_read(&path, source))?.len();
            if length > MAX_FILE_BYTES {
                return Err(Error::config(format!("\"{}\" has {length} bytes of SQL", path.display()))
                    .advise("a file may have up to 1 MiB; split it"));
            }
            paths.push(path);
        }
    }
    Ok(())
}

fn cannot_read(path: &Path, source: std::io::Error) -> Error {
    Error::config(format!("could not read \"{}\"", path.display()))
        .because(source)
        .advise("give a readable SQL folder with --sql")
}

/// Fills the variables into LOCATION and the values of OPTIONS; anywhere else they are refused,
/// since a reader of the SQL could not know what it says.
fn fill_in(path: &str, text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String> {
    let file = SqlFile { path: path.to_owned(), text: text.to_owned() };
    let at =
        |location: Location, message: &str| underlined(&file, (location.line, location.column), message, 1);
    let tokens =
        Tokenizer::new(&SqlDialect, text).with_unescape(false).tokenize_with_location().map_err(|error| {
            Error::config(at(error.location, &error.message)).advise("check quotes and comments")
        })?;
    refuse_long_chains(&tokens).map_err(|location| {
        // The line would be as long as the chain: it is not shown.
        Error::config(format!(
            "{path}:{}:{}: an expression chains more than {MAX_CHAINED_OPERATORS} operators",
            location.line, location.column
        ))
        .advise("split it, or look the values up in a table")
    })?;
    let mut filled = String::with_capacity(text.len());
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.push("");
    let mut position = Location { line: 1, column: 1 };
    let mut context = Context::default();
    for token in &tokens {
        let here = context.step(&token.token);
        let Token::SingleQuotedString(value) = &token.token else { continue };
        if !value.contains("${") {
            continue;
        }
        if !here {
            return Err(Error::config(at(token.span.start, "${…} in a string")).advise(
                "variables of the environment are filled into LOCATION and the values of OPTIONS only",
            ));
        }
        let value = expand(value, variable).map_err(|problem| {
            Error::config(at(token.span.start, &problem))
                .advise("set the variable, or give a default: ${NAME:-default}")
        })?;
        copy_text(&lines, position, token.span.start, &mut filled);
        filled.push_str(&format!("'{value}'"));
        position = token.span.end;
    }
    copy_text(&lines, position, Location { line: u64::MAX, column: 1 }, &mut filled);
    Ok(filled)
}

/// Appends the text between two places; columns count characters from 1.
fn copy_text(lines: &[&str], from: Location, to: Location, into: &mut String) {
    for (number, line) in (1u64..).zip(lines) {
        if number < from.line || number > to.line {
            continue;
        }
        let skip = if number == from.line { from.column.saturating_sub(1) as usize } else { 0 };
        let end = if number == to.line { to.column.saturating_sub(1) as usize } else { usize::MAX };
        into.extend(line.chars().skip(skip).take(end.saturating_sub(skip)));
    }
}

/// Whether the token at hand stands behind LOCATION or is a value in OPTIONS ( … ).
#[derive(Default)]
struct Context {
    after_location: bool,
    after_options: bool,
    in_options: bool,
    is_value: bool,
}

impl Context {
    fn step(&mut self, token: &Token) -> bool {
        match token {
            Token::Whitespace(_) => return false,
            Token::Word(word) if word.keyword == Keyword::LOCATION => self.after_location = true,
            Token::Word(word) if word.keyword == Keyword::OPTIONS => self.after_options = true,
            Token::LParen if self.after_options => {
                self.in_options = true;
                self.is_value = false;
                self.after_options = false;
            }
            Token::RParen => self.in_options = false,
            Token::Comma => self.is_value = false,
            Token::SingleQuotedString(_) => {
                let here = self.after_location || (self.in_options && self.is_value);
                self.after_location = false;
                self.is_value = true;
                return here;
            }
            _ => {
                self.after_location = false;
                self.is_value = true;
            }
        }
        false
    }
}

/// `value` with its `${NAME}` and `${NAME:-default}` filled in, quotes doubled.
fn expand(value: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or("${ without }")?;
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        match (variable(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => expanded.push_str(&value.replace('\'', "''")),
            (None, Some(default)) => expanded.push_str(default),
            (None, None) => return Err(format!("the variable ${{{name}}} is not set")),
        }
        rest = &inner[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A flat chain of operators becomes a tree as deep as the chain is long, and DataFusion walks it
/// by recursion (its issue 22229), so the length is bounded before anything is parsed.
fn refuse_long_chains(tokens: &[TokenWithSpan]) -> Result<(), Location> {
    let mut chained = 0;
    for token in tokens {
        match &token.token {
            Token::Comma | Token::SemiColon => chained = 0,
            Token::Word(word) => match word.keyword {
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::ON | Keyword::AS => chained = 0,
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::WHEN => chained += 1,
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::LParen
            | Token::LBracket
            | Token::DoubleColon => chained += 1,
            _ => {}
        }
        if chained > MAX_CHAINED_OPERATORS {
            return Err(token.span.start);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String> {
        fill_in("a.sql", text, &|name| match name {
            "TOPIC" => Some("it's".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_filled_into_location_and_options() {
        let sql = "CREATE x STORED AS KAFKA -- ${TOPIC}\nLOCATION 'ä${TOPIC}b'\nOPTIONS ('k' '${DB:-mart}.t', 'l' 'é');";
        assert_eq!(
            fill(sql).expect("filled"),
            "CREATE x STORED AS KAFKA -- ${TOPIC}\nLOCATION 'äit''sb'\nOPTIONS ('k' 'mart.t', 'l' 'é');"
        );
    }

    #[test]
    fn variables_elsewhere_or_unset_are_refused() {
        let error = fill("SELECT '${TOPIC}'").expect_err("refused").to_string();
        assert!(error.starts_with("a.sql:1:8"), "{error}");
        let error = fill("LOCATION '${NOPE}'").expect_err("refused").to_string();
        assert!(error.contains("${NOPE} is not set"), "{error}");
        assert!(fill("OPTIONS ('${TOPIC}' 'v')").is_err());
    }

    #[test]
    fn long_chains_are_refused_before_parsing() {
        let chain = format!("SELECT {}", vec!["1"; 5000].join(" + "));
        assert!(fill(&chain).expect_err("refused").to_string().contains("operators"));
        let columns = format!("SELECT {} FROM t", vec!["a + b AND c"; 500].join(", "));
        assert!(fill(&columns).is_ok());
    }
}

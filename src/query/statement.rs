//! The statements of a SQL folder, each with its file.

use datafusion::sql::parser::{CreateExternalTable, DFParserBuilder, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{
    CreateView, Ident, Insert, ObjectName, ObjectNamePart, Query, SetExpr, Statement, TableObject,
};

use crate::error::{Error, Result};
use crate::query::cast_types;
use crate::query::dialect::SqlDialect;
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};

/// One statement and the file it stands in.
#[derive(Debug)]
pub(crate) struct Located<'a, T> {
    pub(crate) file: &'a SqlFile,
    pub(crate) statement: T,
}

/// The statements of a folder by what they are, in path order.
#[derive(Debug, Default)]
pub(crate) struct Statements<'a> {
    pub(crate) tables: Vec<Located<'a, CreateExternalTable>>,
    pub(crate) views: Vec<Located<'a, CreateView>>,
    pub(crate) rules: Vec<Located<'a, Query>>,
    pub(crate) outputs: Vec<Located<'a, Insert>>,
}

impl<'a> Statements<'a> {
    /// Parses all files.
    pub(crate) fn parse(files: &'a [SqlFile]) -> Result<Self> {
        let mut statements = Self::default();
        for file in files {
            let parsed = DFParserBuilder::new(file.text.as_str())
                .with_dialect(&SqlDialect)
                .build()
                .and_then(|mut parser| parser.parse_statements())
                .map_err(|source| sql_error(file, &source))?;
            let count = parsed.len();
            for statement in parsed {
                statements.sort_in(file, statement, count)?;
            }
        }
        Ok(statements)
    }

    fn sort_in(&mut self, file: &'a SqlFile, statement: DfStatement, count: usize) -> Result<()> {
        if let DfStatement::Statement(statement) = &statement {
            cast_types::check(file, statement)?;
        }
        match statement {
            DfStatement::CreateExternalTable(statement) => self.tables.push(Located { file, statement }),
            DfStatement::Statement(statement) => match *statement {
                Statement::CreateView(statement) => self.views.push(Located { file, statement }),
                Statement::Insert(statement) => self.outputs.push(Located { file, statement }),
                Statement::Query(statement) => {
                    if count > 1 {
                        return Err(refuse_at(file, "SELECT", "a rule is the only statement of its file")
                            .advise(
                                "put each SELECT into a file of its own; the file's name is the rule's name",
                            ));
                    }
                    if !matches!(*statement.body, SetExpr::Select(_)) {
                        return Err(refuse_at(file, "UNION", "a rule is one plain SELECT")
                            .advise("write SELECT … AS holds FROM the view"));
                    }
                    self.rules.push(Located { file, statement: *statement });
                }
                other => return Err(unknown_statement(file, &other.to_string())),
            },
            other => return Err(unknown_statement(file, &other.to_string())),
        }
        Ok(())
    }
}

fn unknown_statement(file: &SqlFile, text: &str) -> Error {
    let head: String = text.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    refuse_at(
        file,
        head.split(' ').next().unwrap_or_default(),
        format!("\"{head} …\" is not a statement of a SQL folder"),
    )
    .advise("use CREATE EXTERNAL TABLE, CREATE VIEW, INSERT INTO … SELECT, and SELECT for a rule")
}

/// The plain name of a table or field: as it stands in quotes, else in lower case; qualified names are refused.
pub(crate) fn plain_name(file: &SqlFile, name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(value_of(ident)),
        _ => {
            Err(refuse(file, format!("\"{name}\" is not a plain name"))
                .advise("leave out catalog and schema"))
        }
    }
}

/// A name as DataFusion reads it.
pub(crate) fn value_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The plain name of a table or view, which is a folder's name too: of its outputs, or of the checkpoint.
pub(crate) fn table_name(file: &SqlFile, name: &ObjectName) -> Result<String> {
    let name = plain_name(file, name)?;
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(refuse_at(file, &name, format!("\"{name}\" can't be the name of a table"))
            .advise("leave out '/', and '.' at its beginning"));
    }
    Ok(name)
}

/// The table that an INSERT writes to.
pub(crate) fn insert_target(file: &SqlFile, insert: &Insert) -> Result<String> {
    match &insert.table {
        TableObject::TableName(name) => plain_name(file, name),
        other => {
            Err(refuse(file, format!("INSERT INTO \"{other}\" is not supported")).advise("name a sink table"))
        }
    }
}

/// The tables that the program's INSERTs write to.
pub(crate) fn insert_targets(statements: &Statements<'_>) -> Result<Vec<String>> {
    statements.outputs.iter().map(|insert| insert_target(insert.file, &insert.statement)).collect()
}

//! A Kafka topic as a table: its columns, its key, and how its event time moves the watermark.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::Constraint;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::{CreateExternalTable, Statement};
use datafusion::sql::sqlparser::ast::{ColumnOption, TableConstraint, Value};

use crate::batch::watermark::WatermarkPolicy;
use crate::decode::Decoder;
use crate::duration;
use crate::error::{Error, Result};
use crate::query::session::plan_statement;
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::statement::plain_name;

/// Columns that every source has beside the declared ones; a view may select them.
pub(crate) const SOURCE_COLUMNS: [&str; 6] =
    ["_topic", "_partition", "_offset", "_timestamp", "_key", "_headers"];

/// A table `STORED AS KAFKA`.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// The table's name in SQL.
    pub name: String,
    /// Its topic.
    pub topic: Arc<str>,
    /// The declared columns, which a record's JSON is decoded into.
    pub columns: SchemaRef,
    /// The indices of the PRIMARY KEY columns; empty without one.
    pub primary_key: Vec<usize>,
    /// The index of `watermark.column`.
    pub event_time: usize,
    /// `watermark.delay`, `watermark.idle_timeout`, `watermark.source_idle_timeout`.
    pub watermark: WatermarkPolicy,
    /// `watermark.max_ahead`: how far beyond the batch time an event time may lie.
    pub max_ahead: Duration,
    /// `max.record.bytes`.
    pub max_record_bytes: usize,
    /// `tombstone`.
    pub tombstone: Tombstone,
}

/// What becomes of a record with a null value; counted it is in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tombstone {
    /// Nothing more.
    #[default]
    Ignore,
    /// A dead letter `tombstone`.
    DeadLetter,
}

impl Tombstone {
    /// As OPTIONS say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::DeadLetter => "dead-letter",
        }
    }
}

impl SourceTable {
    pub(crate) fn plan(
        file: &SqlFile,
        statement: &CreateExternalTable,
        state: &SessionState,
    ) -> Result<Self> {
        refuse_unsupported(file, statement)?;
        let name = plain_name(file, &statement.name)?;
        let (columns, primary_key) = declared_columns(file, statement, state)?;
        let fields = columns.fields();
        if let Some(field) = fields.iter().find(|field| field.name().starts_with('_')) {
            return Err(refuse(file, format!("column \"{}\" begins with an underscore", field.name()))
                .advise("such names are the engine's; choose another and rename in the message"));
        }
        let options = Options::read(
            file,
            &name,
            &statement.options,
            &[
                "watermark.column",
                "watermark.delay",
                "watermark.idle_timeout",
                "watermark.source_idle_timeout",
                "watermark.max_ahead",
                "max.record.bytes",
                "tombstone",
            ],
        )?;
        let Some(column) = options.text("watermark.column") else {
            return Err(refuse_at(file, &name, format!("table \"{name}\" has no 'watermark.column'"))
                .advise(
                    "add OPTIONS ('watermark.column' '<its event time>', 'watermark.delay' '10 minutes')",
                ));
        };
        let event_time = fields.iter().position(|field| field.name() == column).ok_or_else(|| {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            refuse_at(file, column, format!("the watermark column \"{column}\" is no column of \"{name}\""))
                .advise(format!("its columns are {}", names.join(", ")))
        })?;
        if !matches!(fields[event_time].data_type(), DataType::Timestamp(_, _))
            || fields[event_time].is_nullable()
        {
            return Err(refuse_at(
                file,
                column,
                format!("the watermark column \"{column}\" must be TIMESTAMP NOT NULL"),
            ));
        }
        let max_record_bytes = options.number("max.record.bytes", 1024 * 1024)?;
        Decoder::try_new(Arc::clone(&columns), Some(event_time), max_record_bytes)
            .map_err(|error| refuse(file, error))?;
        let tombstone = match options.text("tombstone") {
            None => Tombstone::default(),
            Some(text) => [Tombstone::Ignore, Tombstone::DeadLetter]
                .into_iter()
                .find(|tombstone| tombstone.name() == text)
                .ok_or_else(|| {
                    refuse_at(
                        file,
                        text,
                        format!("'tombstone' '{text}' is neither 'ignore' nor 'dead-letter'"),
                    )
                })?,
        };
        let topic = statement.locations[0].clone();
        if topic.is_empty()
            || topic.len() > 249
            || !topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            return Err(refuse_at(file, &topic, format!("\"{topic}\" is no name of a topic"))
                .advise("use letters, digits, '.', '_' and '-'"));
        }
        Ok(Self {
            name,
            columns,
            primary_key,
            event_time,
            watermark: WatermarkPolicy {
                topic: topic.clone(),
                delay: options.duration("watermark.delay")?.unwrap_or(Duration::from_secs(600)),
                idle_timeout: options.duration("watermark.idle_timeout")?.unwrap_or(Duration::from_secs(60)),
                source_idle_timeout: options.duration("watermark.source_idle_timeout")?,
            },
            max_ahead: options.duration("watermark.max_ahead")?.unwrap_or(Duration::from_secs(3600)),
            max_record_bytes,
            tombstone,
            topic: topic.into(),
        })
    }

    /// The name of the watermark column.
    pub fn event_time_name(&self) -> &str {
        self.columns.field(self.event_time).name()
    }

    /// The names of the PRIMARY KEY columns, in key order.
    pub fn primary_key_names(&self) -> impl Iterator<Item = &str> {
        self.primary_key.iter().map(|&index| self.columns.field(index).name().as_str())
    }

    /// The table as SQL sees it: the declared columns, then [`SOURCE_COLUMNS`].
    pub(crate) fn sql_schema(&self) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = self.columns.fields().iter().cloned().collect();
        fields.extend(SOURCE_COLUMNS.map(|name| Arc::new(source_column(name))));
        Arc::new(Schema::new(fields))
    }
}

/// The columns that a table declares, and the indices of its PRIMARY KEY.
pub(crate) fn declared_columns(
    file: &SqlFile,
    statement: &CreateExternalTable,
    state: &SessionState,
) -> Result<(SchemaRef, Vec<usize>)> {
    let plan = plan_statement(state, Statement::CreateExternalTable(without_options(statement)))
        .map_err(|source| sql_error(file, &source))?;
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(table)) = plan else {
        return Err(Error::internal("CREATE EXTERNAL TABLE was planned as something else"));
    };
    let key = table.constraints.iter().find_map(|constraint| match constraint {
        Constraint::PrimaryKey(indices) => Some(indices.clone()),
        Constraint::Unique(_) => None,
    });
    let key = key.unwrap_or_default();
    let fields = table.schema.fields().iter().enumerate().map(|(index, field)| {
        // A key that is NULL identifies nothing.
        let nullable = field.is_nullable() && !key.contains(&index);
        field.as_ref().clone().with_nullable(nullable)
    });
    Ok((Arc::new(Schema::new(fields.collect::<Vec<_>>())), key))
}

/// The type of one of [`SOURCE_COLUMNS`].
fn source_column(name: &str) -> Field {
    let (data_type, nullable) = match name {
        "_topic" => (DataType::Utf8, false),
        "_partition" => (DataType::Int32, false),
        "_offset" => (DataType::Int64, false),
        "_timestamp" => (DataType::Timestamp(TimeUnit::Millisecond, None), false),
        "_key" => (DataType::Binary, true),
        _ => (DataType::List(Arc::new(Field::new("item", header_type(), false))), false),
    };
    Field::new(name, data_type, nullable)
}

/// A header: its name and its bytes.
pub(crate) fn header_type() -> DataType {
    DataType::Struct(Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]))
}

fn refuse_unsupported(file: &SqlFile, statement: &CreateExternalTable) -> Result<()> {
    let name = &statement.name;
    if !statement.unbounded {
        return Err(refuse_at(
            file,
            "CREATE",
            format!("table \"{name}\" is STORED AS KAFKA and not UNBOUNDED"),
        )
        .advise("write CREATE UNBOUNDED EXTERNAL TABLE"));
    }
    if statement.locations.len() != 1 {
        return Err(refuse(file, format!("table \"{name}\" has {} locations", statement.locations.len()))
            .advise("a Kafka table reads one topic"));
    }
    if statement.if_not_exists || statement.or_replace || statement.temporary {
        return Err(refuse(file, "IF NOT EXISTS, OR REPLACE and TEMPORARY mean nothing here")
            .advise("leave them out"));
    }
    if !statement.table_partition_cols.is_empty() || !statement.order_exprs.is_empty() {
        return Err(
            refuse(file, "PARTITIONED BY and WITH ORDER mean nothing for a topic").advise("leave them out")
        );
    }
    refuse_constraints(file, statement)
}

/// What a declaration may say of its columns: NOT NULL and PRIMARY KEY.
pub(crate) fn refuse_constraints(file: &SqlFile, statement: &CreateExternalTable) -> Result<()> {
    for column in &statement.columns {
        for option in &column.options {
            if !matches!(
                option.option,
                ColumnOption::NotNull | ColumnOption::Null | ColumnOption::PrimaryKey(_)
            ) {
                return Err(refuse(
                    file,
                    format!("column \"{}\": \"{}\" is not supported", column.name, option.option),
                ));
            }
        }
    }
    if let Some(constraint) =
        statement.constraints.iter().find(|c| !matches!(c, TableConstraint::PrimaryKey(_)))
    {
        let word = constraint.to_string();
        return Err(refuse_at(
            file,
            word.split(' ').next().unwrap_or_default(),
            format!("\"{constraint}\" is not supported"),
        )
        .advise("only PRIMARY KEY is"));
    }
    Ok(())
}

/// The engine reads the options itself, since DataFusion changes their keys.
fn without_options(statement: &CreateExternalTable) -> CreateExternalTable {
    CreateExternalTable { options: Vec::new(), ..statement.clone() }
}

/// OPTIONS of a table: known keys only, none twice.
pub(crate) struct Options<'a> {
    file: &'a SqlFile,
    pairs: Vec<(String, String)>,
}

impl<'a> Options<'a> {
    pub(crate) fn read(
        file: &'a SqlFile,
        table: &str,
        options: &[(String, Value)],
        known: &[&str],
    ) -> Result<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (key, value) in options {
            let key = key.to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(refuse_at(
                    file,
                    &key,
                    format!("table \"{table}\" has the unknown option '{key}'"),
                )
                .advise(format!("known are {}", known.join(", "))));
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(refuse(file, format!("table \"{table}\" has the option '{key}' twice")));
            }
            let value = match value {
                Value::SingleQuotedString(text) => text.clone(),
                other => other.to_string(),
            };
            pairs.push((key, value));
        }
        Ok(Self { file, pairs })
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let parse = |text: &str| {
            duration::parse(text).map_err(|error| {
                refuse_at(self.file, text, format!("'{key}' '{text}' is no duration: {error}"))
            })
        };
        self.text(key).map(parse).transpose()
    }

    fn number(&self, key: &str, default: usize) -> Result<usize> {
        self.text(key).map_or(Ok(default), |text| {
            text.parse()
                .map_err(|_| refuse_at(self.file, text, format!("'{key}' '{text}' is no whole number")))
        })
    }
}

//! Reference tables: files of the program that rules and outputs look values up in.
//!
//! `CREATE EXTERNAL TABLE blocked (…) STORED AS CSV LOCATION 'blocked.csv'` is DataFusion's own
//! statement. The files are part of the program: they are read when it is planned, hashed and copied
//! into the checkpoint with the SQL, so that a replay looks up the same values, and an edited file counts
//! as changed SQL.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{CreateExternalTable, Statement};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, path::Path as StorePath};

use crate::decode::Decoder;
use crate::error::{Error, Result};
use crate::query::lookup::Lookup;
use crate::query::reference_rows::{CsvFormat, Misfit, csv_rows, json_rows, parquet_rows};
use crate::query::session::confined;
use crate::query::source_table::{Options, declared_columns, refuse_constraints};
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::statement::{Located, Statements, insert_targets, plain_name};

/// What all reference files of a program may have together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The formats of reference tables.
const FORMATS: [&str; 4] = ["CSV", "JSON", "NDJSON", "PARQUET"];

/// What DataFusion calls a table while it reads its files.
const IN_MEMORY: &str = "reference";

/// One file behind a reference table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceFile {
    /// The table's LOCATION, as the SQL says it.
    pub location: String,
    /// The file's name.
    pub name: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Whether a table is one: stored in a file format, and nothing is inserted into it.
pub(crate) fn is_reference(table: &CreateExternalTable, name: &str, targets: &[String]) -> bool {
    !["KAFKA", "MONGODB"].contains(&table.file_type.as_str()) && !targets.iter().any(|target| target == name)
}

/// Reads the files of all reference tables that `files` declare; a relative LOCATION is relative to `root`.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): a file is missing, or together they are too large.
pub fn read_files(root: &Path, files: &[SqlFile]) -> Result<Vec<ReferenceFile>> {
    let statements = Statements::parse(files)?;
    let targets = insert_targets(&statements)?;
    let mut found: Vec<ReferenceFile> = Vec::new();
    for Located { file, statement } in &statements.tables {
        if !is_reference(statement, &plain_name(file, &statement.name)?, &targets) {
            continue;
        }
        let [location] = statement.locations.as_slice() else {
            return Err(refuse_at(file, "LOCATION", "a reference table has one location"));
        };
        if found.iter().any(|known| known.location == *location) {
            continue;
        }
        let path = root.join(location);
        let total = found.iter().map(|known| known.bytes.len() as u64).sum();
        found.extend(read_location(file, location, &path, total)?);
    }
    Ok(found)
}

fn read_location(file: &SqlFile, location: &str, path: &Path, total: u64) -> Result<Vec<ReferenceFile>> {
    let cannot_read = |source: std::io::Error| {
        refuse_at(file, location, format!("could not read the reference file \"{}\"", path.display()))
            .because(source)
            .advise("a relative LOCATION is relative to the SQL folder; a missing file is refused, not taken as empty")
    };
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        paths = std::fs::read_dir(path)
            .map_err(cannot_read)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .map_err(cannot_read)?;
        paths.retain(|path| path.is_file());
        paths.sort();
    }
    let mut total = total;
    let mut files = Vec::new();
    for path in paths {
        total += std::fs::metadata(&path).map_err(cannot_read)?.len();
        if total > MAX_BYTES {
            return Err(refuse_at(file, location, "the reference files have more than 64 MiB together")
                .advise("they are copied into the checkpoint and held in memory: join so large a table in the database"));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = std::fs::read(&path).map_err(cannot_read)?.into();
        files.push(ReferenceFile { location: location.to_owned(), name, bytes });
    }
    if files.is_empty() {
        return Err(refuse_at(file, location, format!("the folder \"{}\" has no file", path.display())));
    }
    Ok(files)
}

/// The table's rows, in memory, from the program's copy of its files.
pub(crate) fn load(
    file: &SqlFile,
    name: &str,
    statement: &CreateExternalTable,
    files: &[ReferenceFile],
) -> Result<Lookup> {
    if !FORMATS.contains(&statement.file_type.as_str()) {
        return Err(refuse_at(
            file,
            &statement.file_type,
            format!("\"{name}\" is STORED AS {}, which is unknown", statement.file_type),
        )
        .advise("KAFKA is a stream, MONGODB a sink, and CSV, JSON and PARQUET hold reference data"));
    }
    if statement.unbounded {
        return Err(refuse_at(file, "UNBOUNDED", format!("the reference table \"{name}\" is UNBOUNDED"))
            .advise("leave the word out: only a Kafka table is a stream"));
    }
    let location = statement.locations.first().cloned().unwrap_or_default();
    let files: Vec<ReferenceFile> =
        files.iter().filter(|known| known.location == location).cloned().collect();
    if files.is_empty() {
        return Err(refuse(file, format!("the program has no copy of \"{location}\"")));
    }
    let (rows, unique) = if statement.columns.is_empty() {
        (inferred(file, name, statement, &files)?, Vec::new())
    } else {
        declared(file, name, statement, &location, &files)?
    };
    check_unique(file, name, &rows, &unique)?;
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    Ok(Lookup { name: name.to_owned(), table: Arc::new(table), unique })
}

/// The rows as the table declares them, and the names of its PRIMARY KEY.
fn declared(
    file: &SqlFile,
    name: &str,
    statement: &CreateExternalTable,
    location: &str,
    files: &[ReferenceFile],
) -> Result<(RecordBatch, Vec<String>)> {
    refuse_constraints(file, statement)?;
    if !statement.table_partition_cols.is_empty() || !statement.order_exprs.is_empty() {
        return Err(refuse(file, "PARTITIONED BY and WITH ORDER mean nothing for a reference table")
            .advise("leave them out"));
    }
    let (schema, key) = declared_columns(file, statement, &confined(Vec::new())?)?;
    let format = read_format(file, name, statement)?;
    if !matches!(format, Format::Parquet) {
        Decoder::try_new(Arc::clone(&schema), None, usize::MAX).map_err(|error| refuse(file, error))?;
    }
    let misfit = |found: &ReferenceFile, problem| match problem {
        Misfit::Of(place, problem) => {
            let place = place.map(|place| format!(", {place}")).unwrap_or_default();
            refuse_at(file, location, format!("the reference file \"{}\"{place}: {problem}", found.name))
                .with("table", name)
                .advise("mend the file, or declare the columns as they are in it")
        }
        Misfit::Failed(error) => error,
    };
    let mut batches = Vec::new();
    for found in files {
        let rows = match &format {
            Format::Csv(format) => csv_rows(&found.bytes, &schema, *format),
            Format::Json => json_rows(&found.bytes, &schema),
            Format::Parquet => parquet_rows(&found.bytes, &schema),
        };
        batches.push(rows.map_err(|problem| misfit(found, problem))?);
    }
    let rows = arrow::compute::concat_batches(&schema, &batches)?;
    Ok((rows, key.into_iter().map(|index| schema.field(index).name().clone()).collect()))
}

enum Format {
    Csv(CsvFormat),
    Json,
    Parquet,
}

/// The format, by STORED AS and OPTIONS; each key as DataFusion knows it, with or without `format.`.
fn read_format(file: &SqlFile, name: &str, statement: &CreateExternalTable) -> Result<Format> {
    let options: Vec<_> = statement
        .options
        .iter()
        .map(|(key, value)| {
            let key = key.to_lowercase();
            (key.strip_prefix("format.").map(str::to_owned).unwrap_or(key), value.clone())
        })
        .collect();
    match (statement.file_type.as_str(), options.first()) {
        ("CSV", _) => {}
        (other, Some((key, _))) => {
            return Err(refuse_at(
                file,
                key,
                format!("the reference table \"{name}\" has the option '{key}'"),
            )
            .advise(format!("{other} takes none: leave it out")));
        }
        ("PARQUET", None) => return Ok(Format::Parquet),
        _ => return Ok(Format::Json),
    }
    let known =
        ["has_header", "delimiter", "quote", "escape", "double_quote", "comment", "newlines_in_values"];
    let options = Options::read(file, name, &options, &known)?;
    let flag = |key: &str, default: bool| match options.text(key).map(str::to_lowercase).as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            Err(refuse_at(file, other, format!("'{key}' '{other}' is neither 'true' nor 'false'")))
        }
    };
    let byte = |key: &str| match options.text(key).map(str::as_bytes) {
        None => Ok(None),
        Some([byte]) => Ok(Some(*byte)),
        Some([b'\\', b't']) => Ok(Some(b'\t')),
        Some(_) => {
            let text = options.text(key).unwrap_or_default();
            Err(refuse_at(file, text, format!("'{key}' '{text}' is not one ASCII character")))
        }
    };
    flag("newlines_in_values", true)?;
    Ok(Format::Csv(CsvFormat {
        has_header: flag("has_header", true)?,
        delimiter: byte("delimiter")?.unwrap_or(b','),
        quote: byte("quote")?.unwrap_or(b'"'),
        escape: byte("escape")?,
        double_quote: flag("double_quote", true)?,
        comment: byte("comment")?,
    }))
}

/// The rows of a table that declares no columns, as DataFusion finds them in the program's copy of its files.
fn inferred(
    file: &SqlFile,
    name: &str,
    statement: &CreateExternalTable,
    files: &[ReferenceFile],
) -> Result<RecordBatch> {
    let mut in_memory = statement.clone();
    in_memory.name = ObjectName::from(vec![Ident::new(IN_MEMORY)]);
    in_memory.locations = vec![format!("memory:///{IN_MEMORY}/")];
    // DataFusion's readers want a runtime of their own; planning runs inside of another.
    let loaded = std::thread::scope(|scope| {
        scope
            .spawn(|| load_blocking(in_memory, files))
            .join()
            .map_err(|_| Error::internal("reading panicked"))
    })?;
    loaded.map_err(|source| sql_error(file, &source).with("table", name))
}

/// A PRIMARY KEY is believed when an output joins the table, so it has to hold.
fn check_unique(file: &SqlFile, name: &str, rows: &RecordBatch, unique: &[String]) -> Result<()> {
    if unique.is_empty() {
        return Ok(());
    }
    let columns = unique
        .iter()
        .map(|column| rows.column_by_name(column).cloned())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            refuse_at(file, "KEY", format!("the PRIMARY KEY of \"{name}\" names a column that it has not"))
        })?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let encoded = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut seen = HashSet::new();
    match (0..rows.num_rows()).find(|&row| !seen.insert(encoded.row(row).owned())) {
        Some(row) => Err(refuse_at(
            file,
            "KEY",
            format!("row {} of the reference table \"{name}\" repeats a PRIMARY KEY", row + 1),
        )
        .advise("mend the file, or leave the PRIMARY KEY out")),
        None => Ok(()),
    }
}

fn load_blocking(
    statement: CreateExternalTable,
    files: &[ReferenceFile],
) -> datafusion::error::Result<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = InMemory::new();
        for file in files {
            store
                .put(&StorePath::from(IN_MEMORY).join(file.name.as_str()), file.bytes.clone().into())
                .await?;
        }
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let environment = RuntimeEnvBuilder::new().build_arc()?;
        environment.register_object_store(ObjectStoreUrl::parse("memory://")?.as_ref(), Arc::new(store));
        environment.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        let plan = context.state().statement_to_plan(Statement::CreateExternalTable(statement)).await?;
        context.execute_logical_plan(plan).await?;
        let table = context.table(datafusion::common::TableReference::bare(IN_MEMORY)).await?;
        let schema = Arc::clone(table.schema().inner());
        let batches = table.collect().await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    })
}

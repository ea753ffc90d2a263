//! Reference tables: files of the program that rules and outputs look values up in.
//!
//! `CREATE EXTERNAL TABLE blocked (…) STORED AS CSV LOCATION 'blocked.csv'` is DataFusion's own
//! statement, read by DataFusion's own formats. The files are part of the program: they are read when
//! it is planned, hashed and copied into the checkpoint with the SQL, so that a replay looks up the
//! same values, and an edited file counts as changed SQL.

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
use datafusion::sql::sqlparser::ast::{ColumnOption, TableConstraint};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, path::Path as StorePath};

use crate::error::{Error, Result};
use crate::query::lookup::Lookup;
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::statement::{Located, Statements, insert_targets, plain_name};

/// What all reference files of a program may have together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The formats of reference tables.
const FORMATS: [&str; 4] = ["CSV", "JSON", "NDJSON", "PARQUET"];

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

/// The table's rows, in memory, as DataFusion reads them from the program's copy of its files.
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
    let mut in_memory = statement.clone();
    in_memory.locations = vec![format!("memory:///{name}/")];
    // DataFusion's readers want a runtime of their own; planning runs inside of another.
    let loaded = std::thread::scope(|scope| {
        scope
            .spawn(|| load_blocking(name, in_memory, &files))
            .join()
            .map_err(|_| Error::internal("reading panicked"))
    })?;
    let rows = loaded.map_err(|source| sql_error(file, &source).with("table", name))?;
    let unique = primary_key(file, statement)?;
    check_unique(file, name, &rows, &unique)?;
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    Ok(Lookup { name: name.to_owned(), table: Arc::new(table), unique })
}

/// The columns of the declared PRIMARY KEY.
fn primary_key(file: &SqlFile, statement: &CreateExternalTable) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for column in &statement.columns {
        if column.options.iter().any(|option| matches!(option.option, ColumnOption::PrimaryKey(_))) {
            names.push(column.name.value.to_lowercase());
        }
    }
    for constraint in &statement.constraints {
        let TableConstraint::PrimaryKey(key) = constraint else {
            return Err(
                refuse(file, format!("\"{constraint}\" is not supported")).advise("only PRIMARY KEY is")
            );
        };
        names.extend(key.columns.iter().map(|column| column.column.expr.to_string().to_lowercase()));
    }
    Ok(names)
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
    name: &str,
    statement: CreateExternalTable,
    files: &[ReferenceFile],
) -> datafusion::error::Result<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = InMemory::new();
        for file in files {
            store.put(&StorePath::from(name).join(file.name.as_str()), file.bytes.clone().into()).await?;
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
        let table = context.table(datafusion::common::TableReference::bare(name)).await?;
        let schema = Arc::clone(table.schema().inner());
        let batches = table.collect().await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    })
}

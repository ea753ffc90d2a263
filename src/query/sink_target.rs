//! Where an output's rows go: what its CREATE EXTERNAL TABLE says.

use datafusion::sql::parser::CreateExternalTable;

use crate::error::Result;
use crate::query::source_table::Options;
use crate::query::sql_file::{SqlFile, refuse, refuse_at};
use crate::s3;

/// Where an output's rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// `STORED AS MONGODB LOCATION 'database.collection'`.
    MongoDb {
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// Several queries may write to it; derived ids carry the query's id.
        shared: bool,
    },
    /// `STORED AS JSON` or `PARQUET`: a file for each batch that has rows.
    Files {
        /// A folder, absolute or relative to the working directory, or `s3://bucket/prefix`; without a slash
        /// at its end.
        location: String,
        /// What is in the files.
        format: FileFormat,
    },
}

/// What is in the files of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A JSON object a line.
    Json(Compression),
    /// Parquet.
    Parquet(Compression),
}

/// `'compression'`, by Spark's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `none`: the default of JSON.
    None,
    /// `gzip`, of JSON.
    Gzip,
    /// `snappy`: the default of Parquet.
    Snappy,
    /// `lz4`, of Parquet: LZ4_RAW.
    Lz4,
    /// `zstd`, of Parquet.
    Zstd,
}

impl Compression {
    const OF_JSON: [Self; 2] = [Self::None, Self::Gzip];
    const OF_PARQUET: [Self; 4] = [Self::Snappy, Self::Zstd, Self::Lz4, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The first of `known` is the default.
    fn read(file: &SqlFile, options: &Options<'_>, known: &[Self]) -> Result<Self> {
        let Some(text) = options.text("compression") else { return Ok(known[0]) };
        known.iter().copied().find(|compression| compression.name() == text).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|compression| compression.name()).collect();
            refuse_at(file, text, format!("'compression' '{text}' is none that these files can have"))
                .advise(format!("write {}", names.join(", ")))
        })
    }
}

impl FileFormat {
    /// The end of a file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Json(Compression::Gzip) => "jsonl.gz",
            Self::Json(_) => "jsonl",
            Self::Parquet(_) => "parquet",
        }
    }
}

impl SinkTarget {
    /// Reads the target, and the names of the fields that make the `_id`.
    pub(crate) fn read(
        file: &SqlFile,
        name: &str,
        sink: &CreateExternalTable,
    ) -> Result<(Self, Vec<String>)> {
        if !sink.columns.is_empty() {
            return Err(refuse_at(file, name, format!("the sink table \"{name}\" declares columns"))
                .advise("leave them out: the fields of the documents are those of the SELECT"));
        }
        if sink.unbounded
            || sink.if_not_exists
            || sink.or_replace
            || sink.temporary
            || sink.locations.len() != 1
        {
            return Err(refuse(
                file,
                format!("the sink table \"{name}\" has a clause that means nothing for a sink"),
            )
            .advise("write CREATE EXTERNAL TABLE … STORED AS … LOCATION '…'"));
        }
        let location = sink.locations[0].as_str();
        let known: &[&str] =
            if sink.file_type == "MONGODB" { &["id", "shared"] } else { &["id", "compression"] };
        let options = Options::read(file, name, &sink.options, known)?;
        let ids = options
            .text("id")
            .map(|ids| ids.split(',').map(|id| id.trim().to_owned()).collect())
            .unwrap_or_default();
        let target = match sink.file_type.as_str() {
            "MONGODB" => mongodb(file, location, &options)?,
            "JSON" | "NDJSON" => {
                let compression = Compression::read(file, &options, &Compression::OF_JSON)?;
                files(file, location, FileFormat::Json(compression))?
            }
            "PARQUET" => {
                let compression = Compression::read(file, &options, &Compression::OF_PARQUET)?;
                files(file, location, FileFormat::Parquet(compression))?
            }
            other => {
                return Err(refuse_at(file, other, format!("a sink can't be STORED AS {other}"))
                    .advise("use MONGODB, JSON (a .jsonl file for each batch) or PARQUET"));
            }
        };
        Ok((target, ids))
    }

    /// Whether two outputs would write to one place.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Files { location, .. }, Self::Files { location: other, .. }) => location == other,
            _ => self == other,
        }
    }

    /// Whether it goes to MongoDB.
    pub(crate) fn is_mongodb(&self) -> bool {
        matches!(self, Self::MongoDb { .. })
    }
}

fn mongodb(file: &SqlFile, location: &str, options: &Options<'_>) -> Result<SinkTarget> {
    let shared = match options.text("shared") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(refuse_at(file, other, format!("'shared' '{other}' is neither 'true' nor 'false'")));
        }
    };
    let plain =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    match location.split_once('.') {
        Some((database, collection))
            if plain(database) && plain(collection) && !collection.starts_with("system.") =>
        {
            Ok(SinkTarget::MongoDb {
                database: database.to_owned(),
                collection: collection.to_owned(),
                shared,
            })
        }
        _ => Err(refuse_at(file, location, format!("\"{location}\" is no place for documents"))
            .advise("write LOCATION 'database.collection', of letters, digits, '_' and '-'")),
    }
}

fn files(file: &SqlFile, location: &str, format: FileFormat) -> Result<SinkTarget> {
    let refused = |problem: &str| {
        refuse_at(file, location, format!("\"{location}\" {problem}"))
            .advise("write a folder, relative to the working directory or absolute, or s3://bucket/prefix")
    };
    if location.is_empty() {
        return Err(refuse(file, "an output of files has an empty LOCATION"));
    }
    if location.starts_with(s3::SCHEME) {
        s3::split(location).ok_or_else(|| refused("is no s3://bucket/prefix"))?;
    } else if location.contains("://") {
        return Err(refused("is on a store that files can't be written to"));
    }
    let location = match location.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    Ok(SinkTarget::Files { location: location.to_owned(), format })
}

//! Outputs as files: one JSON lines or Parquet file for each batch that has rows.
//!
//! A file is named by its batch, written under a temporary name, synced and renamed (in a bucket: put), so
//! that a replay replaces its own file and nothing else. A batch that runs again and now has no rows, or
//! another format, removes the file that it left.

use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use flate2::write::GzEncoder;
use object_store::{Error as Cause, ObjectStore, ObjectStoreExt};

use crate::batch::BatchId;
use crate::durable::{make_folder, sync_folder, write_synced};
use crate::error::{Error, ErrorKind, Result};
use crate::query::output::{Compression, FileFormat, Output, SinkTarget};
use crate::s3::{self, Prefix};
use crate::sink::{OutputRows, Refusal, Refused, Sink, json, parquet};

/// What a batch's file may be called at its end.
const EXTENSIONS: [&str; 3] = ["jsonl", "jsonl.gz", "parquet"];

/// Writes files.
#[derive(Debug, Default)]
pub struct FileSink {
    /// `--outputs DIR`: every output goes to `DIR/<output>`, whatever its target.
    all_under: Option<PathBuf>,
}

/// Where the files of an output lie.
enum Place {
    Folder(PathBuf),
    Bucket(Prefix),
}

impl FileSink {
    /// A sink for all outputs, as JSON lines under `folder`.
    pub fn all_under(folder: &Path) -> Self {
        Self { all_under: Some(folder.to_owned()) }
    }

    /// Where an output goes and as what; nothing for one that goes to MongoDB.
    fn target(&self, output: &Output) -> Result<Option<(Place, FileFormat)>> {
        Ok(match (&self.all_under, &output.target) {
            (Some(folder), _) => {
                Some((Place::Folder(folder.join(&output.name)), FileFormat::Json(Compression::None)))
            }
            (None, SinkTarget::MongoDb { .. }) => None,
            (None, SinkTarget::Files { location, format }) => {
                let place = match location.starts_with(s3::SCHEME) {
                    true => Place::Bucket(Prefix::open("LOCATION", location)?),
                    false => Place::Folder(location.into()),
                };
                Some((place, *format))
            }
        })
    }
}

#[async_trait]
impl Sink for FileSink {
    /// Makes the folders, and tries whether files can be written there. A query that begins must not find the
    /// files of another: they have the names of its own batches, and some would stay.
    async fn open(&self, outputs: &[Output], _query_id: &str, last_planned: Option<BatchId>) -> Result<()> {
        for output in outputs {
            let Some((place, _)) = self.target(output)? else { continue };
            if let Place::Folder(folder) = &place {
                let probe = folder.join(".ecomm-batch.tmp");
                let tried = make_folder(folder).and_then(|()| write_synced(&probe, b""));
                tried.map_err(|error| cannot_write(output, folder, error))?;
                remove(&probe)?;
            }
            let found = place.names().await?.into_iter().find(|name| is_of_batch(name));
            if let Some(name) = found.filter(|_| last_planned.is_none()) {
                return Err(Error::new(
                    ErrorKind::Sink,
                    format!(
                        "output \"{}\" would write among the files of another run: \"{place}/{name}\"",
                        output.name
                    ),
                )
                .advise("move them away, or choose another LOCATION: a new checkpoint begins with batch 0"));
            }
        }
        Ok(())
    }

    async fn fence(&self, _outputs: &[Output]) -> Result<()> {
        Ok(())
    }

    async fn record(&self, _outputs: &[Output], _batch: BatchId, _refused: Refused) -> Result<()> {
        Ok(())
    }

    async fn write(&self, output: &Output, batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        let Some((place, format)) = self.target(output)? else {
            return Err(Error::internal(format!("output \"{}\" does not go to files", output.name)));
        };
        let bytes = match rows.rows.num_rows() {
            0 => None,
            _ => Some(match format {
                FileFormat::Json(compression) => json_bytes(rows, compression)?,
                FileFormat::Parquet(compression) => parquet::bytes(rows, compression)?,
            }),
        };
        place.put(output, batch, format.extension(), bytes.as_deref()).await?;
        Ok(Vec::new())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(prefix) => f.write_str(prefix.url("").trim_end_matches('/')),
        }
    }
}

/// Whether it is the name of a batch's file.
fn is_of_batch(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(batch, extension)| batch.parse::<u64>().is_ok() && EXTENSIONS.contains(&extension))
}

impl Place {
    /// The names of the files that are there; a bucket that is not there, or credentials that are not taken,
    /// are an error.
    async fn names(&self) -> Result<Vec<String>> {
        match self {
            Self::Folder(folder) => {
                let entries = std::fs::read_dir(folder).map_err(|source| {
                    Error::internal(format!("could not list \"{}\"", folder.display())).because(source)
                })?;
                Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            }
            Self::Bucket(prefix) => {
                let found = prefix.client.list_with_delimiter(Some(&prefix.root())).await;
                let found = found.map_err(|error| prefix.failed("list", "", error))?;
                Ok(found
                    .objects
                    .iter()
                    .filter_map(|object| object.location.filename())
                    .map(str::to_owned)
                    .collect())
            }
        }
    }

    /// Publishes the file of a batch, or nothing; any other that the batch left is removed.
    async fn put(
        &self,
        output: &Output,
        batch: BatchId,
        extension: &str,
        bytes: Option<&[u8]>,
    ) -> Result<()> {
        let name = format!("{batch}.{extension}");
        let others = EXTENSIONS.iter().map(|other| format!("{batch}.{other}"));
        let others: Vec<String> = others.filter(|other| bytes.is_none() || *other != name).collect();
        match self {
            Self::Folder(folder) => {
                if let Some(bytes) = bytes {
                    let temporary = folder.join(format!("{batch}.tmp"));
                    write_synced(&temporary, bytes)
                        .and_then(|()| rename(&temporary, &folder.join(&name)))
                        .map_err(|error| cannot_write(output, folder, error))?;
                }
                others.iter().try_for_each(|other| remove(&folder.join(other)))?;
                sync_folder(folder).map_err(|error| cannot_write(output, folder, error))
            }
            Self::Bucket(prefix) => {
                if let Some(bytes) = bytes {
                    let put = prefix.client.put(&prefix.path(&name), bytes.to_vec().into()).await;
                    put.map_err(|error| prefix.failed("write", &name, error))?;
                }
                for other in others {
                    match prefix.client.delete(&prefix.path(&other)).await {
                        Ok(()) | Err(Cause::NotFound { .. }) => {}
                        Err(error) => return Err(prefix.failed("remove", &other, error)),
                    }
                }
                Ok(())
            }
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|source| {
        Error::internal(format!("could not rename to \"{}\"", to.display())).because(source)
    })
}

/// A file that is not there is no error.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::internal(format!("could not remove \"{}\"", path.display())).because(source))
        }
        _ => Ok(()),
    }
}

fn cannot_write(output: &Output, folder: &Path, cause: Error) -> Error {
    Error::new(
        ErrorKind::Sink,
        format!("output \"{}\" can't write files to \"{}\"", output.name, folder.display()),
    )
    .because(cause.headline())
    .advise(
        "give the user of this process the right to write there, and free space; or choose another LOCATION",
    )
}

fn json_bytes(rows: &OutputRows, compression: Compression) -> Result<Vec<u8>> {
    let mut text = json::lines(rows)?.join("\n");
    text.push('\n');
    if compression != Compression::Gzip {
        return Ok(text.into_bytes());
    }
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_err(|source| Error::internal("gzip failed").because(source))
}

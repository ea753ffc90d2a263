//! Outputs as files: one JSON lines or Parquet file for each batch that has rows.
//!
//! A file is named by its batch, written under a temporary name, synced and renamed, so that a
//! replay replaces its own file and nothing else.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use parquet::arrow::ArrowWriter;

use crate::batch::BatchId;
use crate::checkpoint::directory::{make_folder, sync_folder, write_synced};
use crate::error::{Error, Result};
use crate::query::output::{Output, SinkTarget};
use crate::sink::{OutputRows, Refusal, Refused, Sink, json};

/// Writes files.
#[derive(Debug)]
pub struct FileSink {
    /// `--outputs DIR`: every output goes to `DIR/<output>`, whatever its target.
    all_under: Option<PathBuf>,
    /// What relative locations are relative to.
    sql_folder: PathBuf,
}

impl FileSink {
    /// A sink for outputs whose target is files.
    pub fn new(sql_folder: &Path) -> Self {
        Self { all_under: None, sql_folder: sql_folder.to_owned() }
    }

    /// A sink for all outputs, as JSON lines under `folder`.
    pub fn all_under(folder: &Path) -> Self {
        Self { all_under: Some(folder.to_owned()), sql_folder: PathBuf::new() }
    }

    fn folder(&self, output: &Output) -> PathBuf {
        match (&self.all_under, &output.target) {
            (Some(folder), _) => folder.join(&output.name),
            (None, SinkTarget::Json { folder } | SinkTarget::Parquet { folder }) => {
                self.sql_folder.join(folder)
            }
            (None, SinkTarget::MongoDb { .. }) => self.sql_folder.join(&output.name),
        }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn open(&self, outputs: &[Output], _query_id: &str, _last_planned: Option<BatchId>) -> Result<()> {
        let to_files = |output: &&Output| {
            self.all_under.is_some() || !matches!(output.target, SinkTarget::MongoDb { .. })
        };
        outputs.iter().filter(to_files).try_for_each(|output| make_folder(&self.folder(output)))
    }

    async fn fence(&self, _outputs: &[Output]) -> Result<()> {
        Ok(())
    }

    async fn record(&self, _outputs: &[Output], _batch: BatchId, _refused: Refused) -> Result<()> {
        Ok(())
    }

    async fn write(&self, output: &Output, batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        let parquet = self.all_under.is_none() && matches!(output.target, SinkTarget::Parquet { .. });
        let (extension, bytes) =
            if parquet { ("parquet", parquet_bytes(rows)?) } else { ("jsonl", json_bytes(rows)?) };
        let folder = self.folder(output);
        let path = folder.join(format!("{batch}.{extension}"));
        let temporary = path.with_extension("tmp");
        write_synced(&temporary, &bytes)?;
        std::fs::rename(&temporary, &path).map_err(|source| {
            Error::internal(format!("could not rename to \"{}\"", path.display())).because(source)
        })?;
        sync_folder(&folder)?;
        Ok(Vec::new())
    }
}

fn json_bytes(rows: &OutputRows) -> Result<Vec<u8>> {
    let mut text = json::lines(rows)?.join("\n");
    text.push('\n');
    Ok(text.into_bytes())
}

fn parquet_bytes(rows: &OutputRows) -> Result<Vec<u8>> {
    let fail = |source: parquet::errors::ParquetError| Error::internal("Parquet failed").because(source);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.rows.schema(), None).map_err(fail)?;
    writer.write(&rows.rows).map_err(fail)?;
    writer.close().map_err(fail)?;
    Ok(bytes)
}

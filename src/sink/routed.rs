//! Each output to the sink of its target: MongoDB or files.

use async_trait::async_trait;

use crate::batch::BatchId;
use crate::error::{Error, Result};
use crate::query::output::{Output, SinkTarget};
use crate::sink::file::FileSink;
use crate::sink::mongodb::MongoDbSink;
use crate::sink::{Atomic, OutputRows, Refusal, Refused, Sink};

/// MongoDB where an output asks for it, files for the others.
#[derive(Debug)]
pub struct RoutedSink {
    /// Present if any output goes to MongoDB.
    pub mongodb: Option<MongoDbSink>,
    /// For the others.
    pub files: FileSink,
}

impl RoutedSink {
    fn route(&self, output: &Output) -> Result<&dyn Sink> {
        match (&output.target, &self.mongodb) {
            (SinkTarget::MongoDb { .. }, Some(sink)) => Ok(sink),
            (SinkTarget::MongoDb { .. }, None) => Err(Error::internal(format!(
                "output \"{}\" goes to MongoDB, which was not connected",
                output.name
            ))),
            _ => Ok(&self.files),
        }
    }
}

#[async_trait]
impl Sink for RoutedSink {
    async fn ask(&self, outputs: &[Output], query_id: &str) -> Result<()> {
        if let Some(mongodb) = &self.mongodb {
            mongodb.ask(outputs, query_id).await?;
        }
        self.files.ask(outputs, query_id).await
    }

    async fn open(&self, outputs: &[Output], query_id: &str, last_planned: Option<BatchId>) -> Result<()> {
        if let Some(mongodb) = &self.mongodb {
            mongodb.open(outputs, query_id, last_planned).await?;
        }
        self.files.open(outputs, query_id, last_planned).await
    }

    async fn fence(&self, outputs: &[Output]) -> Result<()> {
        match &self.mongodb {
            Some(mongodb) => mongodb.fence(outputs).await,
            None => Ok(()),
        }
    }

    async fn record(&self, outputs: &[Output], batch: BatchId, refused: Refused) -> Result<()> {
        match &self.mongodb {
            Some(mongodb) => mongodb.record(outputs, batch, refused).await,
            None => Ok(()),
        }
    }

    async fn write(&self, output: &Output, batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        self.route(output)?.write(output, batch, rows).await
    }

    async fn write_atomically(
        &self,
        batch: BatchId,
        outputs: &[(&Output, OutputRows)],
        refused: Refused,
    ) -> Result<Atomic> {
        let is_mongodb = |(output, _): &(&Output, OutputRows)| output.target.is_mongodb();
        match &self.mongodb {
            Some(mongodb) if outputs.iter().all(is_mongodb) => {
                mongodb.write_atomically(batch, outputs, refused).await
            }
            _ => Ok(Atomic::DoesNotFit("an output goes to files, which have no transactions".to_owned())),
        }
    }
}

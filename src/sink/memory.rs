//! A sink that keeps documents in the process, by id, as the real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;

use crate::batch::BatchId;
use crate::error::Result;
use crate::query::output::{Output, SinkTarget};
use crate::sink::decimal::too_long;
use crate::sink::{OutputRows, Refusal, RefusalReason, Refused, Sink, json};

/// Documents as JSON text: output, then `_id`.
#[derive(Debug, Default)]
pub struct MemorySink {
    outputs: Mutex<BTreeMap<String, Stored>>,
}

#[derive(Debug, Default)]
struct Stored {
    by_id: BTreeMap<String, String>,
    in_order: Vec<String>,
}

impl MemorySink {
    /// The documents stored in `output` beyond the first `seen`, in the order they came.
    pub fn since(&self, output: &str, seen: usize) -> Vec<String> {
        let outputs = self.lock();
        outputs.get(output).map(|stored| stored.in_order[seen..].to_vec()).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Stored>> {
        self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn open(&self, _outputs: &[Output], _query_id: &str, _last_planned: Option<BatchId>) -> Result<()> {
        Ok(())
    }

    async fn fence(&self, _outputs: &[Output]) -> Result<()> {
        Ok(())
    }

    async fn record(&self, _outputs: &[Output], _batch: BatchId, _refused: Refused) -> Result<()> {
        Ok(())
    }

    async fn write(&self, output: &Output, _batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        let mut outputs = self.lock();
        let stored = outputs.entry(output.name.clone()).or_default();
        // What MongoDB can't hold is refused here too, so that cases say what it will do.
        let mut refusals = match output.target {
            SinkTarget::MongoDb { .. } => too_long(&rows.rows),
            _ => Vec::new(),
        };
        let refused: BTreeSet<usize> = refusals.iter().map(|refusal| refusal.row).collect();
        for (row, document) in json::lines(rows)?.into_iter().enumerate() {
            if refused.contains(&row) {
                continue;
            }
            let id = json::id(rows, row)?;
            match stored.by_id.get(&id) {
                None => {
                    stored.by_id.insert(id, document.clone());
                    stored.in_order.push(document);
                }
                Some(other) if *other == document => {}
                Some(_) => refusals.push(Refusal {
                    row,
                    reason: RefusalReason::Conflict,
                    error: format!("another document has the _id {id}"),
                }),
            }
        }
        Ok(refusals)
    }
}

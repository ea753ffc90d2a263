//! The outputs of a batch on their way to the sinks.
//!
//! Outputs over the view go first, then those over the dead letters: a row that a sink can't store
//! becomes a letter of the same batch, and its neighbours are stored.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use tokio::sync::watch;

use crate::admission::{Letter, letters_batch};
use crate::batch::BatchPlan;
use crate::checkpoint::record::Counts;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Program;
use crate::query::join_view::Side;
use crate::query::output::{Output, Reads, Selected, SinkTarget};
use crate::query::view::number_rows;
use crate::retry::retry;
use crate::sink::{DocumentIds, OutputRows, Refusal, RefusalReason, SharedSink, json};
use crate::state::RowMeta;

/// Everything that the outputs of one batch depend on.
pub(crate) struct Delivery<'a> {
    pub(crate) program: &'a Program,
    pub(crate) sink: &'a SharedSink,
    pub(crate) query_id: &'a str,
    pub(crate) plan: &'a BatchPlan,
    pub(crate) stop: &'a watch::Receiver<bool>,
    /// The rows of the view with their verdicts.
    pub(crate) rows: &'a RecordBatch,
    /// For each of them the records behind it.
    pub(crate) origins: &'a [[Option<RowMeta>; 2]],
}

impl Delivery<'_> {
    /// Stores all outputs, between two looks at the fence; what a sink refuses joins `letters`.
    pub(crate) async fn deliver(&self, letters: &mut Vec<Letter>, counts: &mut Counts) -> Result<()> {
        self.fence(false).await?;
        for output in self.outputs(Reads::View) {
            let selected = output.select(self.rows, self.plan.time_ms).await?;
            for (row, error) in &selected.failed {
                let error = format!("could not be computed: {error}");
                let refusal = Refusal { row: *row as usize, reason: RefusalReason::Refused, error };
                letters.push(self.letter(output, *row, None, refusal, counts));
            }
            let rows = OutputRows { ids: self.ids_of_rows(output, &selected.at), rows: selected.rows };
            for refusal in self.write(output, &rows).await? {
                let row = selected.at.value(refusal.row);
                let document = json::object(&rows, refusal.row)?;
                letters.push(self.letter(output, row, Some(document), refusal, counts));
            }
        }
        for output in self.outputs(Reads::DeadLetters) {
            let Selected { rows, at, failed } =
                output.select(&number_rows(&letters_batch(letters)?)?, self.plan.time_ms).await?;
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(Error::config(format!("output \"{}\" could not be computed: {error}", output.name)).advise(
                    "an output of dead letters has to compute for every row: use TRY_CAST or CASE, start again, and the batch runs again",
                ));
            }
            let ids = derived_or_declared(output, self.query_id, &at, |row| letters[row as usize].id());
            if let Some(refusal) = self.write(output, &OutputRows { rows, ids }).await?.into_iter().next() {
                return Err(Error::new(
                    ErrorKind::Sink,
                    format!("output \"{}\" refused a dead letter", output.name),
                )
                .because(refusal.error)
                .advise(
                    "mend the collection (validator, size limit) and start again: the batch runs again",
                ));
            }
        }
        self.fence(true).await
    }

    fn outputs(&self, reads: Reads) -> impl Iterator<Item = &Output> {
        self.program.outputs.iter().filter(move |output| output.reads == reads)
    }

    async fn fence(&self, done: bool) -> Result<()> {
        let check = async || self.sink.fence(&self.program.outputs, self.plan.id, done).await;
        retry("the sink", self.stop, check).await
    }

    async fn write(&self, output: &Output, rows: &OutputRows) -> Result<Vec<Refusal>> {
        if rows.rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        retry("the sink", self.stop, async || self.sink.write(output, self.plan.id, rows).await).await
    }

    fn topic(&self, side: Side) -> Arc<str> {
        let source = self.program.input(side).map_or(0, |input| input.source);
        Arc::clone(&self.program.sources[source].topic)
    }

    fn ids_of_rows(&self, output: &Output, at: &UInt32Array) -> DocumentIds {
        derived_or_declared(output, self.query_id, at, |row| {
            let origin = self.origins[row as usize];
            let position = |side: Side| {
                origin[side.index()]
                    .map(|meta| format!("{}/{}/{}", self.topic(side), meta.partition, meta.offset))
            };
            Side::BOTH.into_iter().filter_map(position).collect::<Vec<_>>().join("|")
        })
    }

    /// The letter of a row of the view that `output` could not store, at the right record, else the left.
    fn letter(
        &self,
        output: &Output,
        row: u32,
        document: Option<String>,
        refusal: Refusal,
        counts: &mut Counts,
    ) -> Letter {
        tracing::warn!("output \"{}\": a row was not stored: {}", output.name, refusal.error);
        match refusal.reason {
            RefusalReason::Refused => counts.refused += 1,
            RefusalReason::Conflict => counts.conflict += 1,
        }
        let origin = self.origins[row as usize];
        let side = if origin[1].is_some() { Side::Right } else { Side::Left };
        let meta = origin[side.index()];
        Letter {
            topic: self.topic(side),
            partition: meta.map_or(-1, |meta| meta.partition),
            offset: meta.map_or(-1, |meta| meta.offset),
            timestamp_ms: meta.map_or(0, |meta| meta.timestamp_ms),
            key: None,
            value: document.map(String::into_bytes),
            headers: Vec::new(),
            reason: refusal.reason.name(),
            error: Some(format!("output \"{}\": {}", output.name, refusal.error)),
            event_time: meta.map(|meta| meta.event_time),
            watermark: self.plan.watermark,
            output: Some(output.name.clone()),
        }
    }
}

/// The declared id of an output, or for each row one that a replay makes again.
fn derived_or_declared(
    output: &Output,
    query_id: &str,
    at: &UInt32Array,
    position: impl Fn(u32) -> String,
) -> DocumentIds {
    if !output.id.is_empty() {
        return DocumentIds::Columns(output.id.clone());
    }
    let prefix = match &output.target {
        SinkTarget::MongoDb { shared: true, .. } => format!("{query_id}:"),
        _ => String::new(),
    };
    DocumentIds::Derived(at.values().iter().map(|&row| format!("{prefix}{}", position(row))).collect())
}

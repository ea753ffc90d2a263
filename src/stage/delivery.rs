//! The outputs of a batch on their way to the sinks.
//!
//! Outputs over the view go first, then those over the dead letters: a row that a sink can't store
//! becomes a letter of the same batch, and its neighbours are stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt32Array};
use sha2::{Digest, Sha256};

use crate::batch::counts::Counts;
use crate::batch::offset::TopicPartition;
use crate::batch::reason::Reason;
use crate::batch::{BatchPlan, SinkMode};
use crate::error::{Error, ErrorKind, Result};
use crate::now::Service;
use crate::observe::example::{Example, ExampleKind, MAX_OF_KIND, cut};
use crate::query::Program;
use crate::query::folder::hex;
use crate::query::output::{Output, Reads, Selected, SinkTarget};
use crate::query::side::Side;
use crate::query::view::number_rows;
use crate::retry::Patience;
use crate::sink::{Atomic, DocumentIds, OutputRows, Refusal, RefusalReason, Refused, SharedSink, json};
use crate::stage::letter::{Letter, letters_batch};
use crate::state::RowMeta;

/// Rows that a transaction leaves out, one try each, before the batch goes one by one.
const MAX_REFUSED_OF_TRANSACTION: usize = 20;

/// For how long a transaction that the server gives up is tried, before the batch goes one by one. Longer
/// than one that a killed engine has left open is in the way (a minute).
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(180);

/// Everything that the outputs of one batch depend on.
pub(crate) struct Delivery<'a> {
    pub(crate) program: &'a Program,
    pub(crate) sink: &'a SharedSink,
    pub(crate) query_id: &'a str,
    pub(crate) plan: &'a BatchPlan,
    pub(crate) patience: &'a Patience,
    /// The rows of the view with their verdicts.
    pub(crate) rows: &'a RecordBatch,
    /// For each of them the records behind it.
    pub(crate) origins: &'a [[Option<RowMeta>; 2]],
    /// An earlier engine may have stored it, in part and perhaps otherwise.
    pub(crate) is_again: bool,
    /// Somebody may look.
    pub(crate) wants_examples: bool,
}

/// What became of the outputs.
pub(crate) struct Delivered {
    /// Rows that went to each output.
    pub(crate) tally: BTreeMap<String, u64>,
    /// The last few rows of each output over the view.
    pub(crate) examples: Vec<Example>,
}

/// The rows of one output.
struct Selection<'a> {
    output: &'a Output,
    /// For each row the number of the row that it was made from.
    at: UInt32Array,
    rows: OutputRows,
}

impl Delivery<'_> {
    /// Stores all outputs as the plan says; what a sink refuses joins `letters`.
    pub(crate) async fn deliver(&self, letters: &mut Vec<Letter>, counts: &mut Counts) -> Result<Delivered> {
        let selections = self.select_rows(letters, counts).await?;
        let of_letters = match self.plan.sink {
            SinkMode::Atomic => self.deliver_whole(&selections, letters, counts).await?,
            SinkMode::Idempotent => None,
        };
        let mut tally = match of_letters {
            Some(tally) => tally,
            None => self.deliver_each(&selections, letters, counts).await?,
        };
        let mut examples = Vec::new();
        for selection in &selections {
            tally.insert(selection.output.name.clone(), selection.rows.rows.num_rows() as u64);
            if self.wants_examples {
                self.examples(selection, &mut examples)?;
            }
        }
        Ok(Delivered { tally, examples })
    }

    fn examples(&self, selection: &Selection<'_>, examples: &mut Vec<Example>) -> Result<()> {
        let num_rows = selection.rows.rows.num_rows();
        for row in num_rows.saturating_sub(MAX_OF_KIND)..num_rows {
            let origin = self.origins[selection.at.value(row) as usize];
            examples.push(Example {
                kind: ExampleKind::Output(selection.output.name.clone()),
                batch: self.plan.id,
                time_ms: self.plan.time_ms,
                origins: records_behind(self.program, origin),
                id: Some(json::id(&selection.rows, row)?),
                severity: None,
                detail: None,
                body: cut(json::object(&selection.rows, row)?.as_bytes()),
            });
        }
        Ok(())
    }

    /// One output after the other, between two looks at the fence; rows of each output over the letters.
    async fn deliver_each(
        &self,
        selections: &[Selection<'_>],
        letters: &mut Vec<Letter>,
        counts: &mut Counts,
    ) -> Result<BTreeMap<String, u64>> {
        let outputs = &self.program.outputs;
        self.patience.retry(Service::Sink, || self.sink.fence(outputs)).await?;
        for selection in selections {
            let refusals = self.write(selection).await?;
            tell_refused(selection, &refusals, "is a dead letter now")?;
            for refusal in refusals {
                letters.push(self.refused(selection, refusal, counts)?);
            }
        }
        let of_letters = self.select_letters(letters).await?;
        let tally = tally(&of_letters);
        for selection in of_letters {
            let refusals = self.write(&selection).await?;
            if let Some(refusal) =
                refusals.iter().find(|refusal| refusal.reason == RefusalReason::Refused).cloned()
            {
                return Err(refused_letter(selection.output, refusal));
            }
            // A letter about a letter would meet the same document: the one that is there stays.
            counts.conflict += refusals.len() as u64;
            tell_refused(&selection, &refusals, "is left as it is stored")?;
        }
        let refused = Refused { refused: counts.refused, conflict: counts.conflict };
        self.patience.retry(Service::Sink, || self.sink.record(outputs, self.plan.id, refused)).await?;
        Ok(tally)
    }

    /// All outputs at once, and rows of each output over the letters; `None` if the batch has to go one by one,
    /// with nothing stored yet.
    ///
    /// A row that is refused becomes a letter, and the rest is tried again.
    async fn deliver_whole(
        &self,
        selections: &[Selection<'_>],
        letters: &mut Vec<Letter>,
        counts: &mut Counts,
    ) -> Result<Option<BTreeMap<String, u64>>> {
        let before = (letters.len(), *counts);
        let first_given_up: OnceLock<Instant> = OnceLock::new();
        let mut left_out: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); selections.len()];
        let reason = loop {
            let mut kept_rows = Vec::new();
            let mut parts: Vec<(&Output, OutputRows)> = Vec::new();
            for (selection, left_out) in selections.iter().zip(&left_out) {
                let kept: Vec<usize> =
                    (0..selection.rows.rows.num_rows()).filter(|row| !left_out.contains(row)).collect();
                parts.push((selection.output, selection.rows.take(&kept)?));
                kept_rows.push(kept);
            }
            let of_letters = self.select_letters(letters).await?;
            let tally = tally(&of_letters);
            parts.extend(of_letters.into_iter().map(|selection| (selection.output, selection.rows)));
            let refused = Refused { refused: counts.refused, conflict: counts.conflict };
            let attempt = || async {
                match self.sink.write_atomically(self.plan.id, &parts, refused).await? {
                    Atomic::GivenUp(reason) => {
                        match first_given_up.get_or_init(Instant::now).elapsed() < TRANSACTION_PATIENCE {
                            true => Err(Error::unavailable(reason)),
                            false => Ok(Atomic::DoesNotFit(reason)),
                        }
                    }
                    outcome => Ok(outcome),
                }
            };
            match self.patience.retry(Service::Sink, attempt).await? {
                Atomic::Stored => return Ok(Some(tally)),
                Atomic::StoredBefore(refused) => {
                    counts.refused = refused.refused;
                    counts.conflict = refused.conflict;
                    return Ok(Some(tally));
                }
                Atomic::DoesNotFit(reason) | Atomic::GivenUp(reason) => break reason,
                Atomic::Refused(index, refusals) => {
                    let Some(selection) = selections.get(index) else {
                        let first = refusals
                            .into_iter()
                            .next()
                            .ok_or_else(|| Error::internal("a transaction was refused without a reason"))?;
                        if first.reason == RefusalReason::Conflict {
                            break "a dead letter is stored already, and differs".to_owned();
                        }
                        return Err(refused_letter(parts[index].0, first));
                    };
                    let refusals: Vec<Refusal> = refusals
                        .into_iter()
                        .map(|refusal| Refusal { row: kept_rows[index][refusal.row], ..refusal })
                        .collect();
                    tell_refused(selection, &refusals, "is a dead letter now")?;
                    for refusal in refusals {
                        left_out[index].insert(refusal.row);
                        letters.push(self.refused(selection, refusal, counts)?);
                    }
                    if left_out.iter().map(BTreeSet::len).sum::<usize>() > MAX_REFUSED_OF_TRANSACTION {
                        break format!("more than {MAX_REFUSED_OF_TRANSACTION} rows were refused");
                    }
                }
            }
        };
        tracing::warn!("batch {} is not stored in one transaction: {reason}", self.plan.id);
        letters.truncate(before.0);
        *counts = before.1;
        Ok(None)
    }

    /// The rows of each output over the view; a row that can't be computed is a letter.
    async fn select_rows(
        &self,
        letters: &mut Vec<Letter>,
        counts: &mut Counts,
    ) -> Result<Vec<Selection<'_>>> {
        let mut selections = Vec::new();
        for output in self.outputs(Reads::View) {
            let selected = output.select(self.rows, self.plan.time_ms).await?;
            if let Some((_, error)) = selected.failed.first() {
                tracing::warn!(
                    "output \"{}\": {} could not be computed and are dead letters now, for example: {error}",
                    output.name,
                    rows_in_words(selected.failed.len()),
                );
            }
            for (row, error) in &selected.failed {
                let error = format!("could not be computed: {error}");
                let refusal = Refusal { row: *row as usize, reason: RefusalReason::Refused, error };
                letters.push(self.letter(output, *row, None, refusal, counts));
            }
            let ids = self.ids_of_rows(output, &selected.at);
            selections.push(Selection {
                output,
                at: selected.at,
                rows: OutputRows { ids, rows: selected.rows },
            });
        }
        Ok(selections)
    }

    /// The rows of each output over the dead letters.
    async fn select_letters(&self, letters: &[Letter]) -> Result<Vec<Selection<'_>>> {
        let mut selections = Vec::new();
        for output in self.outputs(Reads::DeadLetters) {
            let Selected { rows, at, failed } =
                output.select(&number_rows(&letters_batch(letters)?)?, self.plan.time_ms).await?;
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(Error::config(format!(
                    "output \"{}\" could not be computed: {error}",
                    output.name
                ))
                .advise("an output of dead letters has to compute for every row: use TRY_CAST or CASE"));
            }
            let ids = derived_or_declared(output, self.query_id, &at, |row| letters[row as usize].id());
            selections.push(Selection { output, at, rows: OutputRows { rows, ids } });
        }
        Ok(selections)
    }

    fn outputs(&self, reads: Reads) -> impl Iterator<Item = &Output> {
        self.program.outputs.iter().filter(move |output| output.reads == reads)
    }

    async fn write(&self, selection: &Selection<'_>) -> Result<Vec<Refusal>> {
        if selection.rows.rows.num_rows() == 0 && !self.is_again {
            return Ok(Vec::new());
        }
        let write = || self.sink.write(selection.output, self.plan.id, &selection.rows);
        self.patience.retry(Service::Sink, write).await
    }

    /// The letter of a row that the sink did not store.
    fn refused(&self, selection: &Selection<'_>, refusal: Refusal, counts: &mut Counts) -> Result<Letter> {
        let row = selection.at.value(refusal.row);
        let document = json::object(&selection.rows, refusal.row)?;
        Ok(self.letter(selection.output, row, Some(document), refusal, counts))
    }

    fn position(&self, side: Side, meta: RowMeta) -> String {
        format!("{}/{}/{}", self.program.topic(side), meta.partition, meta.offset)
    }

    fn ids_of_rows(&self, output: &Output, at: &UInt32Array) -> DocumentIds {
        derived_or_declared(output, self.query_id, at, |row| {
            let origin = self.origins[row as usize];
            let position = |side: Side| origin[side.index()].map(|meta| self.position(side, meta));
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
        match refusal.reason {
            RefusalReason::Refused => counts.refused += 1,
            RefusalReason::Conflict => counts.conflict += 1,
        }
        let origin = self.origins[row as usize];
        let error = format!("output \"{}\": {}", output.name, refusal.error);
        let mut letter = Letter::of_row(self.program, self.plan, origin, &output.name, error);
        letter.reason = match refusal.reason {
            RefusalReason::Refused => Reason::Refused,
            RefusalReason::Conflict => Reason::Conflict,
        };
        if let (Some(document), true, Some(told_apart)) = (&document, output.may_repeat, &mut letter.output) {
            told_apart.push_str(&format!("|{}", hex(&Sha256::digest(document.as_bytes()))));
        }
        letter.value = document.map(String::into_bytes);
        letter
    }
}

fn tally(selections: &[Selection<'_>]) -> BTreeMap<String, u64> {
    let num_rows = |selection: &Selection<'_>| selection.rows.rows.num_rows() as u64;
    selections.iter().map(|selection| (selection.output.name.clone(), num_rows(selection))).collect()
}

/// Where the records of a row of the view lie.
pub(crate) fn records_behind(program: &Program, origin: [Option<RowMeta>; 2]) -> Vec<(TopicPartition, i64)> {
    let record = |side: Side| {
        let meta = origin[side.index()]?;
        Some((TopicPartition::new(Arc::clone(program.topic(side)), meta.partition), meta.offset))
    };
    Side::BOTH.into_iter().filter_map(record).collect()
}

fn refused_letter(output: &Output, refusal: Refusal) -> Error {
    Error::new(ErrorKind::Sink, format!("output \"{}\" refused a dead letter", output.name))
        .because(refusal.error)
        .advise("mend the collection (validator, size limit) and start again")
}

/// One warning for each reason: how many rows an output did not store, and one of them.
fn tell_refused(selection: &Selection<'_>, refusals: &[Refusal], what_follows: &str) -> Result<()> {
    for reason in [RefusalReason::Refused, RefusalReason::Conflict] {
        let mut of_reason = refusals.iter().filter(|refusal| refusal.reason == reason);
        let Some(first) = of_reason.next() else { continue };
        tracing::warn!(
            "output \"{}\": {} not stored ({}), each {what_follows}; for example _id {}: {}",
            selection.output.name,
            rows_in_words(1 + of_reason.count()),
            reason.name(),
            json::id(&selection.rows, first.row)?,
            first.error,
        );
    }
    Ok(())
}

fn rows_in_words(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
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

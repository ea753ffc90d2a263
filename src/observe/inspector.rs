//! Questions about the rows in state, answered by the engine between two batches, and at once while it waits for one.

use std::time::{Duration, Instant};

use arrow::array::{Array, Scalar, StringArray};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{CastOptions, cast_with_options};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::error;
use crate::sink::{DocumentIds, OutputRows, json};
use crate::state::{RowMeta, SideState};

/// For how long the engine looks for one answer.
const BUDGET: Duration = Duration::from_millis(20);

/// Rows of an answer.
const MAX_ROWS: usize = 20;

/// Questions that wait for an answer.
const MAX_QUESTIONS: usize = 8;

/// Which rows of either side have `value` in the column of that name?
#[derive(Debug)]
pub struct Question {
    column: String,
    value: String,
    answer: oneshot::Sender<Answer>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The rows, by the number of their side: what is known of each, and its columns as JSON.
    pub rows: Vec<(usize, RowMeta, String)>,
    /// Not all of the state was looked at.
    pub is_cut: bool,
}

/// Asks.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// Answers.
#[derive(Debug)]
pub struct Questions {
    asked: mpsc::Receiver<Question>,
    /// One that has arrived and is not answered yet.
    first: Option<Question>,
}

/// Both ends.
pub fn channel() -> (Asker, Questions) {
    let (asker, questions) = mpsc::channel(MAX_QUESTIONS);
    (Asker(asker), Questions { asked: questions, first: None })
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// A batch is under way, or too many ask.
    Busy,
    /// Nobody answers any more.
    Stopped,
}

impl Asker {
    /// The answer, if there is one in time; a batch that is under way has to end first.
    pub async fn ask(&self, column: &str, value: &str, patience: Duration) -> Result<Answer, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let question = Question { column: column.to_owned(), value: value.to_owned(), answer };
        self.0.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => NoAnswer::Busy,
            TrySendError::Closed(_) => NoAnswer::Stopped,
        })?;
        match tokio::time::timeout(patience, answered).await {
            Ok(answer) => answer.map_err(|_| NoAnswer::Stopped),
            Err(_) => Err(NoAnswer::Busy),
        }
    }
}

impl Questions {
    /// Waits until there is a question; for ever where nobody asks. Nothing is lost if this is dropped.
    pub(crate) async fn arrive(&mut self) {
        if self.first.is_none() {
            self.first = self.asked.recv().await;
        }
        if self.first.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Answers what was asked meanwhile.
    pub(crate) fn answer(&mut self, sides: &[SideState]) {
        while let Some(question) = self.first.take().or_else(|| self.asked.try_recv().ok()) {
            let answer = find(sides, &question.column, &question.value).unwrap_or_else(|error| {
                tracing::debug!("{error}");
                Answer::default()
            });
            // Whoever asked may have gone.
            let _ = question.answer.send(answer);
        }
    }
}

fn find(sides: &[SideState], column: &str, value: &str) -> error::Result<Answer> {
    let mut answer = Answer::default();
    let until = Instant::now() + BUDGET;
    for (number, side) in sides.iter().enumerate() {
        let Ok(index) = side.schema().index_of(column) else { continue };
        let text = StringArray::from(vec![value]);
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let wanted = cast_with_options(&text, side.schema().field(index).data_type(), &options)?;
        if wanted.null_count() > 0 {
            continue;
        }
        let wanted = Scalar::new(wanted);
        let (found, is_whole) =
            side.find(|columns| Ok(eq(columns.column(index), &wanted)?), MAX_ROWS, until)?;
        answer.is_cut |= !is_whole;
        let rows = side.rows(&found)?;
        let ids = DocumentIds::Derived(vec![String::new(); rows.len()]);
        let shown = OutputRows { rows: rows.columns, ids };
        for (row, meta) in rows.meta.iter().enumerate() {
            let text = json::object(&shown, row)?;
            answer.rows.push((number, *meta, text.replacen("\"_id\":\"\",", "", 1)));
        }
    }
    Ok(answer)
}

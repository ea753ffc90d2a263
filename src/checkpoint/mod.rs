//! What survives a crash, and in which order it is written.
//!
//! ```text
//! epochs/<n>            the engine that owns the checkpoint    at each start
//! metadata              who the query is                       written once
//! sql/<hash>/…          the SQL that batches refer to          before offsets/<N>
//! offsets/<N>           the intent                             before anything is read
//! replans/<n>           other SQL for batches that are pending when a person says so
//! state/<side>/…        deltas and snapshots                   before commits/<N>, which names the valid ones
//! commits/<N>           the outcome                            last
//! ```
//!
//! A batch with `offsets/<N>` and no `commits/<N>` is pending: it runs again as it was planned. At most
//! one batch is pending, but for a [`rollback`](mod@rollback). Nothing is guessed: what is missing or broken stops the
//! engine.
//!
//! Two engines never share a checkpoint: a local one has a lock; and every start writes the next epoch,
//! which an older engine finds before it plans or commits. Whatever slips through meets files that exist.

pub mod bucket;
pub mod directory;
mod patient;
pub mod record;
mod removal;
mod replan;
mod retention;
pub mod rollback;
mod store;
mod verify;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::batch::{BatchId, BatchPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::faults::Faults;
use crate::query::Program;
use crate::query::fingerprint::Fingerprint;
use crate::query::folder::SqlFolder;
use crate::query::reference::ReferenceFile;
use crate::query::side::Side;
use crate::query::sql_file::SqlFile;
use crate::retry::Patience;
use crate::s3;
use bucket::Bucket;
use directory::Directory;
use patient::Patient;
use record::{
    CommitRecord, EpochRecord, Metadata, OffsetRecord, ProgramRecord, RollbackRecord, StateFile, open, seal,
};
use store::Store;
pub use verify::Verified;

/// Reads under way at once.
const PARALLEL_READS: usize = 16;

/// The sides' folders.
const STATE_FOLDERS: [&str; 2] = ["state/left", "state/right"];

/// What to do about a checkpoint that is not whole.
const RESTORE: &str = "restore the checkpoint from a copy, or start anew: `ecomm-batch reset` removes it and what it stored; `ecomm-batch checkpoint verify` lists everything that is wrong";

/// Where a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A local folder.
    Folder(PathBuf),
    /// `s3://bucket/prefix`.
    Bucket(String),
}

impl FromStr for Location {
    type Err = Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        Ok(match text.starts_with(s3::SCHEME) {
            true => Self::Bucket(text.to_owned()),
            false => Self::Folder(text.into()),
        })
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Folder(path.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(url) => url.fmt(f),
        }
    }
}

/// A query's checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    store: Box<dyn Store>,
    location: Location,
    /// Numbers this engine's life, so that its state files meet no other's; 0 of a reader.
    epoch: u64,
}

/// What a restart finds.
#[derive(Debug)]
pub struct Recovered {
    /// Who the query is.
    pub metadata: Metadata,
    /// The last outcome.
    pub commit: Option<CommitRecord>,
    /// Batches that were planned and have no outcome, in order: one at most, or those after a rollback.
    pub pending: Vec<BatchPlan>,
    /// The last plan, pending or not.
    pub last_plan: Option<BatchPlan>,
    /// The hash of the SQL that the last outcome was made with, and so the state.
    pub state_program: Option<String>,
    /// The oldest batch whose files are all kept.
    pub retained_from: BatchId,
}

/// Every record of a checkpoint, opened.
#[derive(Debug)]
pub struct Records {
    /// Who the query is.
    pub metadata: Metadata,
    /// The intents that are kept.
    pub plans: BTreeMap<BatchId, BatchPlan>,
    /// The outcomes that are kept.
    pub commits: BTreeMap<BatchId, CommitRecord>,
    /// The oldest batch whose files are all kept; those below it may be gone.
    pub retained_from: BatchId,
}

impl Checkpoint {
    /// Opens a checkpoint, new or old, for the one engine that will write it; [`Checkpoint::claim`] follows.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if another engine holds a local one.
    pub fn open(location: &Location, faults: Arc<Faults>) -> Result<Self> {
        let store: Box<dyn Store> = match location {
            Location::Folder(path) => Box::new(Directory::lock(path, faults)?),
            Location::Bucket(url) => Box::new(Bucket::open(url, faults)?),
        };
        Ok(Self { store, location: location.clone(), epoch: 0 })
    }

    /// Opens one for reading, whoever else uses it.
    pub fn read_only(location: &Location) -> Result<Self> {
        let store: Box<dyn Store> = match location {
            Location::Folder(path) => Box::new(Directory::read_only(path)),
            Location::Bucket(url) => Box::new(Bucket::open(url, Arc::default())?),
        };
        Ok(Self { store, location: location.clone(), epoch: 0 })
    }

    /// A store that can't be reached is waited for from here on, as long as `patience` lasts.
    #[must_use]
    pub fn patient(self, patience: Patience) -> Self {
        Self { store: Box::new(Patient { store: self.store, patience }), ..self }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Takes the checkpoint over: an engine that had it before finds out before it plans or commits.
    pub async fn claim(&mut self) -> Result<()> {
        let before = self.epochs().await?;
        let epoch = before.last().map_or(1, |last| last + 1);
        let name = format!("epochs/{epoch}");
        let record = EpochRecord { engine: uuid::Uuid::new_v4().to_string() };
        self.store.publish(&name, &seal(&name, &record)?).await?;
        self.epoch = epoch;
        for old in before {
            self.store.remove(&format!("epochs/{old}")).await?;
        }
        Ok(())
    }

    /// Whether nothing was planned or committed since `recovered` was read.
    pub async fn is_still(&self, recovered: Option<&Recovered>) -> Result<bool> {
        let planned = recovered.and_then(|recovered| recovered.last_plan.as_ref()).map(|plan| plan.id.0);
        let done = recovered.and_then(|recovered| recovered.commit.as_ref()).map(|commit| commit.batch_id.0);
        Ok(self.numbers("offsets").await?.last().copied() == planned
            && self.numbers("commits").await?.last().copied() == done)
    }

    async fn epochs(&self) -> Result<Vec<u64>> {
        self.numbers("epochs").await
    }

    /// No engine has started since.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if one has.
    pub async fn assert_newest(&self) -> Result<()> {
        if self.epochs().await?.last() == Some(&self.epoch) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Fenced,
            format!("another engine has taken over the checkpoint \"{}\"", self.location),
        )
        .advise("leave the work to it, or stop it and start this one again"))
    }

    /// Writes a file of an engine that has claimed the checkpoint. A newer one may have removed what was being
    /// written: then that is the error.
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let Err(error) = self.store.publish(name, bytes).await else { return Ok(()) };
        match self.assert_newest().await {
            Err(fenced) if fenced.kind() == ErrorKind::Fenced => Err(fenced),
            _ => Err(error),
        }
    }

    /// Who the query is; `None` if the checkpoint is new.
    pub async fn metadata(&self) -> Result<Option<Metadata>> {
        let bytes = self.store.read("metadata").await?;
        bytes.map(|bytes| open("metadata", &bytes)).transpose()
    }

    /// Opens every record; `None` if the checkpoint is new.
    ///
    /// # Errors
    /// [`Checkpoint`](ErrorKind::Checkpoint) names the record that is missing or broken.
    pub async fn records(&self) -> Result<Option<Records>> {
        let Some(metadata) = self.metadata().await? else {
            for folder in ["offsets", "commits", "replans", "sql", STATE_FOLDERS[0], STATE_FOLDERS[1]] {
                if !self.store.list(folder).await?.is_empty() {
                    return Err(self.missing("metadata"));
                }
            }
            return Ok(None);
        };
        let plans: BTreeMap<BatchId, OffsetRecord> = self.read_all("offsets").await?;
        let mut plans: BTreeMap<BatchId, BatchPlan> =
            plans.into_iter().map(|(id, record)| (id, record.into())).collect();
        for (_, replan) in self.replans().await? {
            plans.values_mut().for_each(|plan| replan.apply(plan));
        }
        let commits: BTreeMap<BatchId, CommitRecord> = self.read_all("commits").await?;
        for (id, commit) in &commits {
            let (Some(made), Some(plan)) = (&commit.program, plans.get(id)) else { continue };
            if *made != plan.program {
                // It ran with other SQL than it was planned with, and the record that says so is gone.
                return Err(self.missing(&format!("replans/… of batch {id}")));
            }
        }
        let rolled_back = self.rolled_back().await?;
        let last = commits.values().next_back();
        let of_commit = last.map_or(Some(BatchId(0)), |commit| commit.retained_from);
        let of_commit = of_commit.or_else(|| commits.keys().next().copied()).unwrap_or(BatchId(0));
        let of_rollback = rolled_back.as_ref().map_or(BatchId(0), |(_, record)| record.retained_from);
        let retained_from = of_commit.max(of_rollback);
        let num_done = last.map_or(0, |commit| commit.batch_id.0 + 1);
        for id in (retained_from.0..num_done).map(BatchId) {
            if !commits.contains_key(&id) {
                return Err(self.missing(&format!("commits/{id}")));
            }
            if !plans.contains_key(&id) {
                return Err(self.missing(&format!("offsets/{id}")));
            }
        }
        if let Some(last) = plans.keys().next_back() {
            let is_there = |id: &BatchId| plans.contains_key(id);
            if let Some(gap) = (num_done..last.0).map(BatchId).find(|id| !is_there(id)) {
                return Err(self.missing(&format!("offsets/{gap}")));
            }
            if last.0 > num_done && rolled_back.is_none_or(|(from, _)| from < *last) {
                return Err(self.missing(&format!("commits/{num_done}")));
            }
        }
        Ok(Some(Records { metadata, plans, commits, retained_from }))
    }

    /// What it holds; `None` for a new one.
    ///
    /// # Errors
    /// As [`Checkpoint::records`].
    pub async fn recover(&self) -> Result<Option<Recovered>> {
        let Some(Records { metadata, mut plans, commits, retained_from }) = self.records().await? else {
            return Ok(None);
        };
        let last_plan = plans.values().next_back().cloned();
        let commit = commits.into_values().next_back();
        let state_program = commit.as_ref().and_then(|commit| plans.get(&commit.batch_id));
        let state_program = state_program.map(|plan| plan.program.clone());
        let pending = match &commit {
            Some(commit) => plans.split_off(&commit.batch_id.next()),
            None => plans,
        };
        let pending = pending.into_values().collect();
        Ok(Some(Recovered { metadata, commit, pending, last_plan, state_program, retained_from }))
    }

    /// The last batch that was planned when commits were removed on purpose, until it is done again.
    async fn rolled_back(&self) -> Result<Option<(BatchId, RollbackRecord)>> {
        let Some(number) = self.numbers("rollbacks").await?.pop() else { return Ok(None) };
        Ok(Some((BatchId(number), self.read_record(&format!("rollbacks/{number}")).await?)))
    }

    /// The numbers that name the files of a folder, sorted.
    async fn numbers(&self, folder: &str) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for name in self.store.list(folder).await? {
            let number: u64 = name.parse().map_err(|_| {
                Error::checkpoint(format!("\"{folder}/{name}\" in the checkpoint is no number"))
                    .with("checkpoint", &self.location)
                    .advise("it was not written by ecomm-batch: remove it")
            })?;
            numbers.push(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    async fn read_all<T: serde::de::DeserializeOwned>(&self, folder: &str) -> Result<BTreeMap<BatchId, T>> {
        let read = |number: u64| async move {
            Ok((BatchId(number), self.read_record(&format!("{folder}/{number}")).await?))
        };
        let numbers = self.numbers(folder).await?;
        futures::stream::iter(numbers.into_iter().map(read)).buffered(PARALLEL_READS).try_collect().await
    }

    async fn read_record<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        open(name, &self.read(name).await?)
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.store.read(name).await?.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        Error::checkpoint(format!("the checkpoint has lost \"{name}\""))
            .with("checkpoint", &self.location)
            .advise(RESTORE)
    }

    fn changed(&self, name: &str) -> Error {
        Error::checkpoint(format!("\"{name}\" in the checkpoint is not as it was written"))
            .with("checkpoint", &self.location)
            .advise(RESTORE)
    }

    /// Writes `metadata`.
    pub async fn begin(&self, metadata: &Metadata) -> Result<()> {
        self.publish("metadata", &seal("metadata", metadata)?).await
    }

    /// Writes the intent of a batch, its SQL first.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if a newer engine has taken over.
    pub async fn append_plan(&self, plan: &BatchPlan, program: &Program) -> Result<()> {
        self.assert_newest().await?;
        self.store_program(program).await?;
        let name = format!("offsets/{}", plan.id);
        self.publish(&name, &seal(&name, &OffsetRecord::from(plan))?).await
    }

    /// Stores the text of a program and its reference files once; `program.json` is written last.
    async fn store_program(&self, program: &Program) -> Result<()> {
        let (hash, folder) = (&program.hash, &program.folder);
        let name = format!("sql/{hash}/program.json");
        if self.store.read(&name).await?.is_some() {
            return Ok(());
        }
        for (number, file) in folder.references.iter().enumerate() {
            let copy = format!("sql/{hash}/reference-{number}");
            // Left by a crash before program.json: the hash names the same content.
            self.store.remove(&copy).await?;
            self.publish(&copy, &file.bytes).await?;
        }
        let references = folder.references.iter().map(|file| (file.location.clone(), file.name.clone()));
        let record = ProgramRecord {
            files: folder.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect(),
            references: references.collect(),
            fingerprint: Some(Fingerprint::of(program)),
        };
        self.publish(&name, &seal(&name, &record)?).await
    }

    /// What state was kept under by a stored program, if it was written down: for one whose text this engine
    /// no longer accepts.
    pub async fn fingerprint(&self, hash: &str) -> Result<Option<Fingerprint>> {
        let record: ProgramRecord = self.read_record(&format!("sql/{hash}/program.json")).await?;
        Ok(record.fingerprint)
    }

    /// The text of a stored program, with its reference files.
    pub async fn program(&self, hash: &str) -> Result<SqlFolder> {
        let name = format!("sql/{hash}/program.json");
        let record: ProgramRecord = self.read_record(&name).await?;
        let mut references = Vec::new();
        for (number, (location, file)) in record.references.into_iter().enumerate() {
            let bytes = self.read(&format!("sql/{hash}/reference-{number}")).await?;
            references.push(ReferenceFile { location, name: file, bytes });
        }
        let files = record.files.into_iter().map(|(path, text)| SqlFile { path, text }).collect();
        let root = Path::new(&self.location.to_string()).join("sql").join(hash);
        let folder = SqlFolder { root, files, references };
        if folder.hash() == hash { Ok(folder) } else { Err(self.changed(&format!("sql/{hash}"))) }
    }

    /// Writes a state file of this engine.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if a newer engine has cleaned up meanwhile.
    pub async fn write_state(
        &self,
        side: Side,
        batch: BatchId,
        kind: &str,
        bytes: &Bytes,
    ) -> Result<StateFile> {
        let name = format!("{}/{batch}-{}.{kind}.parquet", STATE_FOLDERS[side.index()], self.epoch);
        self.publish(&name, bytes).await?;
        Ok(StateFile::of(name, bytes))
    }

    /// A state file that a commit names, as it was written.
    ///
    /// # Errors
    /// [`Checkpoint`](ErrorKind::Checkpoint): it is gone, or other than the commit says.
    pub(crate) async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        let bytes = self.read(&file.name).await?;
        if StateFile::of(file.name.clone(), &bytes) == *file {
            Ok(bytes)
        } else {
            Err(self.changed(&file.name))
        }
    }

    /// Writes the outcome of a batch.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if a newer engine has taken over.
    pub async fn append_commit(&self, commit: &CommitRecord) -> Result<()> {
        self.assert_newest().await?;
        let name = format!("commits/{}", commit.batch_id);
        self.publish(&name, &seal(&name, commit)?).await?;
        for from in self.numbers("rollbacks").await?.into_iter().filter(|&from| from <= commit.batch_id.0) {
            self.store.remove(&format!("rollbacks/{from}")).await?;
        }
        Ok(())
    }
}

//! What survives a crash, and in which order it is written.
//!
//! ```text
//! metadata              who the query is                       written once
//! sql/<hash>/…          the SQL that batches refer to          before offsets/<N>
//! offsets/<N>           the intent                             before anything is read
//! state/<side>/…        deltas and snapshots                   before commits/<N>, which names the valid ones
//! commits/<N>           the outcome                            last
//! ```
//!
//! A batch with `offsets/<N>` and no `commits/<N>` is pending: it runs again as it was planned. At
//! most one batch is pending. Nothing is guessed: what is missing or broken stops the engine.

pub mod directory;
pub mod record;

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use crate::batch::{BatchId, BatchPlan};
use crate::error::{Error, Result};
use crate::query::Program;
use crate::query::folder::SqlFolder;
use crate::query::join_view::{JoinView, Side};
use crate::query::reference::ReferenceFile;
use crate::query::sql_file::SqlFile;
use crate::state::file::Loader;
use crate::state::{KeyRegistry, SideState};
use directory::Directory;
use record::{CommitRecord, Metadata, OffsetRecord, ProgramRecord, StateFile, open, seal};

/// A query's checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    directory: Directory,
    /// Numbers the state files of this life of the engine, so that no attempt meets another's.
    attempt: u64,
}

/// What a restart finds.
#[derive(Debug)]
pub struct Recovered {
    /// Who the query is.
    pub metadata: Metadata,
    /// The last outcome.
    pub commit: Option<CommitRecord>,
    /// A batch that was planned and has no outcome.
    pub pending: Option<BatchPlan>,
    /// The plan of the last batch that has one.
    pub last_plan: Option<BatchPlan>,
}

impl Checkpoint {
    /// Opens and locks a checkpoint, new or old.
    pub fn lock(root: &Path) -> Result<Self> {
        Ok(Self { directory: Directory::lock(root)?, attempt: 0 })
    }

    /// Opens one for reading.
    pub fn read_only(root: &Path) -> Self {
        Self { directory: Directory::read_only(root), attempt: 0 }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    /// What it holds; `None` for a new one.
    pub fn recover(&mut self) -> Result<Option<Recovered>> {
        let offsets = self.batches("offsets")?;
        let commits = self.batches("commits")?;
        let Some(bytes) = self.directory.read("metadata")? else {
            return match offsets.is_empty() && commits.is_empty() {
                true => Ok(None),
                false => Err(self.missing("metadata")),
            };
        };
        let metadata: Metadata = open("metadata", &bytes)?;
        for names in [&offsets, &commits] {
            if let Some(gap) = names.windows(2).find(|pair| pair[0].next() != pair[1]) {
                return Err(self.missing(&format!("the file after batch {}", gap[0])));
            }
        }
        let commit: Option<CommitRecord> =
            commits.last().map(|id| self.read_record(&format!("commits/{id}"))).transpose()?;
        let last_plan: Option<BatchPlan> = offsets
            .last()
            .map(|id| self.read_record::<OffsetRecord>(&format!("offsets/{id}")).map(BatchPlan::from))
            .transpose()?;
        let pending = match (&last_plan, commits.last()) {
            (None, Some(id)) => return Err(self.missing(&format!("offsets/{id}"))),
            (Some(plan), Some(&done)) if plan.id == done => None,
            (Some(plan), Some(&done)) if plan.id == done.next() => Some(plan.clone()),
            (Some(plan), None) if plan.id == BatchId(0) => Some(plan.clone()),
            (Some(plan), _) => return Err(self.missing(&format!("commits/{}", plan.id.0.saturating_sub(1)))),
            (None, None) => None,
        };
        self.attempt = self.next_attempt()?;
        Ok(Some(Recovered { metadata, commit, pending, last_plan }))
    }

    fn batches(&self, folder: &str) -> Result<Vec<BatchId>> {
        let mut ids = Vec::new();
        for name in self.directory.list(folder)? {
            let id: u64 = name.parse().map_err(|_| {
                Error::checkpoint(format!("\"{folder}/{name}\" in the checkpoint is no batch"))
                    .advise("remove it")
            })?;
            ids.push(BatchId(id));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn next_attempt(&self) -> Result<u64> {
        let mut next = 0;
        for side in ["left", "right"] {
            for name in self.directory.list(&format!("state/{side}"))? {
                let attempt = name.split(['-', '.']).nth(1).and_then(|attempt| attempt.parse::<u64>().ok());
                next = next.max(attempt.map_or(0, |attempt| attempt + 1));
            }
        }
        Ok(next)
    }

    fn read_record<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.directory.read(name)?.ok_or_else(|| self.missing(name))?;
        open(name, &bytes)
    }

    fn missing(&self, name: &str) -> Error {
        Error::checkpoint(format!("the checkpoint has lost \"{name}\""))
            .with("checkpoint", self.root().display())
            .advise("restore it from a copy, or start a new checkpoint with --checkpoint")
    }

    /// Writes `metadata`.
    pub fn begin(&self, metadata: &Metadata) -> Result<()> {
        self.directory.publish("metadata", &seal("metadata", metadata)?)
    }

    /// Writes the intent of a batch, its SQL first.
    pub fn append_plan(&self, plan: &BatchPlan, folder: &SqlFolder) -> Result<()> {
        self.store_program(&plan.program, folder)?;
        let name = format!("offsets/{}", plan.id);
        self.directory.publish(&name, &seal(&name, &OffsetRecord::from(plan))?)
    }

    /// Stores the text of a program and its reference files once; `program.json` is written last.
    fn store_program(&self, hash: &str, folder: &SqlFolder) -> Result<()> {
        let name = format!("sql/{hash}/program.json");
        if self.directory.read(&name)?.is_some() {
            return Ok(());
        }
        for (number, file) in folder.references.iter().enumerate() {
            let copy = format!("sql/{hash}/reference-{number}");
            // Left by a crash before program.json: the hash names the same content.
            self.directory.remove(&copy)?;
            self.directory.publish(&copy, &file.bytes)?;
        }
        let references = folder.references.iter().map(|file| (file.location.clone(), file.name.clone()));
        let record = ProgramRecord {
            files: folder.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect(),
            references: references.collect(),
        };
        self.directory.publish(&name, &seal(&name, &record)?)
    }

    /// The text of a stored program, with its reference files.
    pub fn program(&self, hash: &str) -> Result<SqlFolder> {
        let name = format!("sql/{hash}/program.json");
        let record: ProgramRecord = self.read_record(&name)?;
        let mut references = Vec::new();
        for (number, (location, file)) in record.references.into_iter().enumerate() {
            let copy = format!("sql/{hash}/reference-{number}");
            let bytes = self.directory.read(&copy)?.ok_or_else(|| self.missing(&copy))?;
            references.push(ReferenceFile { location, name: file, bytes });
        }
        let files = record.files.into_iter().map(|(path, text)| SqlFile { path, text }).collect();
        let folder = SqlFolder { root: self.root().join("sql").join(hash), files, references };
        if folder.hash() == hash {
            return Ok(folder);
        }
        Err(Error::checkpoint(format!(
            "the files under \"sql/{hash}\" in the checkpoint are not as they were written"
        ))
        .advise("restore the checkpoint from a copy, or start a new one with --checkpoint"))
    }

    /// Writes a state file of this attempt.
    pub fn write_state(&self, side: Side, batch: BatchId, kind: &str, bytes: &Bytes) -> Result<StateFile> {
        let name = format!("state/{}/{batch}-{}.{kind}.parquet", side_name(side), self.attempt);
        self.directory.publish(&name, bytes)?;
        Ok(StateFile::of(name, bytes))
    }

    /// Loads the state of a side as of `commit`.
    pub fn load_state(
        &self,
        program: &Program,
        side: Side,
        commit: Option<&CommitRecord>,
    ) -> Result<SideState> {
        let mut state = new_side(program, side)?;
        let Some(commit) = commit else { return Ok(state) };
        let watermark = commit.watermark;
        let mut loader = Loader::new(program.join.as_ref().map(|join| join.side(side)), state);
        for file in commit.state.get(side.index()).into_iter().flatten() {
            let bytes = self.directory.read(&file.name)?.ok_or_else(|| self.missing(&file.name))?;
            if StateFile::of(file.name.clone(), &bytes) != *file {
                return Err(Error::checkpoint(format!(
                    "the state file \"{}\" is not as it was written",
                    file.name
                ))
                .advise("restore the checkpoint from a copy, or start a new one with --checkpoint"));
            }
            loader.apply(&file.name, bytes)?;
        }
        state = loader
            .finish(watermark.map(|watermark| watermark.saturating_sub(program.reach(side))), watermark);
        Ok(state)
    }

    /// Writes the outcome of a batch.
    pub fn append_commit(&self, commit: &CommitRecord) -> Result<()> {
        let name = format!("commits/{}", commit.batch_id);
        self.directory.publish(&name, &seal(&name, commit)?)
    }

    /// Removes what is older than `retain` batches, and state files that no kept commit names.
    pub fn clean(&self, last: &CommitRecord, retain: u64) -> Result<()> {
        let first_kept = BatchId(last.batch_id.0.saturating_sub(retain));
        for folder in ["commits", "offsets"] {
            for id in self.batches(folder)?.into_iter().filter(|&id| id < first_kept) {
                self.directory.remove(&format!("{folder}/{id}"))?;
            }
        }
        let mut named: BTreeSet<String> = BTreeSet::new();
        for id in self.batches("commits")? {
            let commit: CommitRecord = self.read_record(&format!("commits/{id}"))?;
            named.extend(commit.state.into_iter().flatten().map(|file| file.name));
        }
        for side in ["left", "right"] {
            for name in self.directory.list(&format!("state/{side}"))? {
                let name = format!("state/{side}/{name}");
                if !named.contains(&name) {
                    self.directory.remove(&name)?;
                }
            }
        }
        Ok(())
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Left => "left",
        Side::Right => "right",
    }
}

/// An empty side of `program`; without a join the left one stands for the only source, which keeps keys only.
fn new_side(program: &Program, side: Side) -> Result<SideState> {
    let Some(input) = program.input(side) else {
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::empty());
        let keys = KeyRegistry::try_new(&schema, &[], 0)?;
        return Ok(SideState::new(schema, keys));
    };
    let memory = program.join.as_ref().map_or(0, JoinView::width);
    let names: Vec<String> = input.keys.iter().map(|(_, name)| name.clone()).collect();
    let keys = KeyRegistry::try_new(&input.columns, &names, memory)?;
    Ok(SideState::new(std::sync::Arc::clone(&input.columns), keys))
}

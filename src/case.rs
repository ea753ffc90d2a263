//! Case files: messages in, rows out, run through the real engine without a service.
//!
//! Planner, join, state and the checkpoint on disk are the real ones; messages, sinks and the clock
//! are in memory. The format is described in `tests/cases/README.md`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use tokio::sync::watch;

use crate::batch::SinkMode;
use crate::batch::offset::TopicPartition;
use crate::checkpoint::Location;
use crate::clock::{Clock, ManualClock, rfc3339};
use crate::decode::parse_timestamp;
use crate::duration;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::exact_json::Json;
use crate::faults::{Action, FailPoint, Faults};
use crate::query::Program;
use crate::query::folder::SqlFolder;
use crate::query::side::Side;
use crate::ranges::StartingOffsets;
use crate::settings::starting_offsets;
use crate::sink::memory::MemorySink;
use crate::source::memory::MemorySource;
use crate::stdout::say;

/// Why a case does not hold.
#[derive(Debug)]
pub struct Failure {
    /// The case file.
    pub path: PathBuf,
    /// The line of the instruction.
    pub line: usize,
    /// What was expected and what came.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// A folder for a checkpoint that nobody needs afterwards: in memory where the system has such a place,
/// since syncing to a disk is most of a small batch's time.
pub fn scratch_folder() -> Result<tempfile::TempDir> {
    let in_memory = Path::new("/dev/shm");
    let folder = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    folder.map_err(|source| Error::internal("could not make a folder for the checkpoint").because(source))
}

/// All case files at `path` and below, sorted.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config) if there is none, or a folder can't be read.
pub fn discover(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(path, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(Error::config(format!("no case file at \"{}\"", path.display()))
            .advise("give files named *.case, or folders that hold some"));
    }
    Ok(found)
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let cannot_read = |source: std::io::Error| {
        Error::config(format!("could not read \"{}\"", path.display())).because(source)
    };
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(cannot_read)? {
            let entry = entry.map_err(cannot_read)?.path();
            if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "case") {
                collect(&entry, found)?;
            }
        }
    } else {
        std::fs::metadata(path).map_err(cannot_read)?;
        found.push(path.to_owned());
    }
    Ok(())
}

/// Programs that were planned before, by the hash of their SQL: planning is most of a case's time.
pub type Programs = HashMap<String, Arc<Program>>;

/// Runs one case; `default_sql` is used by a case that names no SQL folder.
///
/// * `groups`: the key groups of a batch; each start of the engine in the case takes the next number, in turn.
///
/// # Errors
/// The first instruction that does not hold.
pub async fn run(
    path: &Path,
    default_sql: &Path,
    programs: &mut Programs,
    groups: &[u32],
) -> std::result::Result<(), Failure> {
    let failure = |line, message: String| Failure { path: path.to_owned(), line, message };
    let text = std::fs::read_to_string(path).map_err(|error| failure(0, error.to_string()))?;
    let folder = scratch_folder().map_err(|error| failure(0, error.to_string()))?;
    let mut case = Case::new(path, default_sql, folder.path(), programs, groups);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        case.instruction(number, line).await.map_err(|message| failure(number, message))?;
    }
    case.settle().map_err(|(line, message)| failure(line, message))?;
    match case.refused {
        Some(error) => Err(failure(text.lines().count(), format!("the engine stopped: {error}"))),
        None => Ok(()),
    }
}

struct Case<'p> {
    programs: &'p mut Programs,
    groups: std::iter::Cycle<std::slice::Iter<'p, u32>>,
    base: PathBuf,
    checkpoint: PathBuf,
    sql: PathBuf,
    source: Arc<MemorySource>,
    sink: Arc<MemorySink>,
    starting_offsets: StartingOffsets,
    clock: Arc<ManualClock>,
    stop: watch::Sender<bool>,
    engine: Option<Engine>,
    /// Why the engine did not start, or stopped; `refuse` expects it.
    refused: Option<Error>,
    faults: Arc<Faults>,
    crash: Option<(FailPoint, bool)>,
    /// The engine died and stays dead until `restart`.
    is_dead: bool,
    /// The next engine takes a pending batch on with its own SQL.
    replan: bool,
    /// How many documents of each output were there at the last trigger.
    seen: BTreeMap<String, usize>,
    expected: Vec<(usize, String, Json)>,
    named: BTreeMap<String, usize>,
    nothing_else: Option<usize>,
}

impl<'p> Case<'p> {
    fn new(
        path: &Path,
        default_sql: &Path,
        checkpoint: &Path,
        programs: &'p mut Programs,
        groups: &'p [u32],
    ) -> Self {
        let six = parse_timestamp("2026-01-05T06:00:00Z").map_or(0, |nanos| (nanos / 1_000_000) as i64);
        Self {
            programs,
            groups: groups.iter().cycle(),
            base: path.parent().unwrap_or(Path::new("")).to_owned(),
            checkpoint: checkpoint.join("checkpoint"),
            sql: default_sql.to_owned(),
            source: Arc::default(),
            sink: Arc::default(),
            starting_offsets: StartingOffsets::Earliest,
            clock: Arc::new(ManualClock::new(six)),
            stop: watch::Sender::new(false),
            engine: None,
            refused: None,
            faults: Arc::default(),
            crash: None,
            is_dead: false,
            replan: false,
            seen: BTreeMap::new(),
            expected: Vec::new(),
            named: BTreeMap::new(),
            nothing_else: None,
        }
    }

    async fn instruction(&mut self, number: usize, line: &str) -> std::result::Result<(), String> {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let rest = value.trim();
        if word != "expect" {
            self.settle().map_err(|(line, message)| format!("(expectation of line {line}) {message}"))?;
        }
        match word {
            "sql" => {
                self.sql = self.base.join(rest);
                self.refused = self.open().await.err();
                Ok(())
            }
            "starting-offsets" => {
                self.starting_offsets = starting_offsets(rest).map_err(|error| error.to_string())?;
                self.engine = None;
                Ok(())
            }
            "clock" => self.set_clock(rest),
            "trigger" => self.trigger(rest).await,
            "expect" => self.expect(number, rest).await,
            "crash" => {
                let (point, stay) = match rest.split_once(' ') {
                    Some((point, "stay")) => (point, true),
                    _ => (rest, false),
                };
                self.crash = Some((point.parse()?, stay));
                Ok(())
            }
            "restart" => {
                let rest = match rest.strip_prefix("replan") {
                    Some(rest) => {
                        self.replan = true;
                        rest.trim()
                    }
                    None => rest,
                };
                if let Some(("sql", path)) = rest.split_once(' ') {
                    self.sql = self.base.join(path.trim());
                }
                self.engine = None;
                self.refused = self.open().await.err();
                if let Some((point, _)) = self.crash.take() {
                    self.faults.arm(point, 0, Action::Error);
                }
                if self.refused.is_none() && std::mem::take(&mut self.is_dead) {
                    self.finish_pending().await?;
                }
                Ok(())
            }
            "refuse" => {
                let error = self.refused.take().ok_or("it was accepted")?.to_string();
                match error.to_lowercase().contains(&rest.to_lowercase()) {
                    true => Ok(()),
                    false => Err(format!("refused with another message: {error}")),
                }
            }
            topic => self.message(topic, value).await,
        }
    }

    async fn open(&mut self) -> Result<()> {
        let folder = SqlFolder::read(&self.sql, |_| None)?;
        let hash = folder.hash();
        let program = match self.programs.get(&hash) {
            Some(program) => Arc::clone(program),
            None => Arc::clone(self.programs.entry(hash).or_insert(Arc::new(Program::plan(folder)?))),
        };
        let options = EngineOptions {
            checkpoint: Location::Folder(self.checkpoint.clone()),
            new_query_id: "case".to_owned(),
            max_offsets_per_trigger: None,
            starting_offsets: self.starting_offsets.clone(),
            fail_on_data_loss: true,
            retain_batches: 100,
            sink_mode: SinkMode::Idempotent,
            groups: self.groups.next().copied(),
            replan: std::mem::take(&mut self.replan),
            faults: Arc::clone(&self.faults),
        };
        let source = Arc::clone(&self.source) as Arc<dyn crate::source::Source>;
        let engine = Engine::open(
            program,
            source,
            Arc::clone(&self.sink) as _,
            Arc::clone(&self.clock) as _,
            options,
            self.stop.subscribe(),
        )
        .await?;
        for table in &engine.program().sources {
            self.source.create(TopicPartition::new(Arc::clone(&table.topic), 0));
        }
        self.engine = Some(engine);
        Ok(())
    }

    async fn engine(&mut self) -> std::result::Result<&mut Engine, String> {
        if let Some(error) = &self.refused {
            return Err(format!("the engine stopped: {error}"));
        }
        if self.engine.is_none() {
            self.open().await.map_err(|error| format!("the SQL was refused: {error}"))?;
        }
        self.engine.as_mut().ok_or_else(|| "there is no engine".to_owned())
    }

    fn set_clock(&mut self, text: &str) -> std::result::Result<(), String> {
        let now_ms = match text.strip_prefix('+') {
            Some(step) => {
                let step = duration::parse(step)?;
                self.clock.now_ms() + step.as_millis() as i64
            }
            None => parse_timestamp(text).map(|nanos| (nanos / 1_000_000) as i64).ok_or("not a time")?,
        };
        self.clock.set(now_ms);
        Ok(())
    }

    async fn message(&mut self, topic: &str, rest: &str) -> std::result::Result<(), String> {
        let is_known = self.engine().await?.program().sources.iter().any(|table| *table.topic == *topic);
        if !is_known {
            return Err(format!("\"{topic}\" is neither an instruction nor the topic of a table"));
        }
        let (mut rest, mut partition, mut key, mut timestamp_ms) = (rest, 0, None, self.clock.now_ms());
        loop {
            let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
            match word.split_once('=') {
                Some(("partition", number)) => {
                    partition = number.parse().map_err(|_| "no partition number")?
                }
                Some(("key", text)) => key = Some(text.as_bytes().to_vec()),
                Some(("timestamp", text)) => {
                    timestamp_ms =
                        parse_timestamp(text).map(|nanos| (nanos / 1_000_000) as i64).ok_or("not a time")?;
                }
                _ => break,
            }
            rest = tail;
        }
        let value = match rest {
            "tombstone" => None,
            "empty" => Some(Vec::new()),
            text => Some(match text.strip_prefix("base64:") {
                Some(code) => base64::engine::general_purpose::STANDARD
                    .decode(code.trim())
                    .map_err(|error| error.to_string())?,
                None => text.as_bytes().to_vec(),
            }),
        };
        self.source.append(TopicPartition::new(topic, partition), timestamp_ms, key, value);
        Ok(())
    }

    async fn trigger(&mut self, rest: &str) -> std::result::Result<(), String> {
        let max = match rest.strip_prefix("max=") {
            Some(number) => Some(number.parse().map_err(|_| "max is no number")?),
            None if rest.is_empty() => None,
            None => return Err(format!("unknown word \"{rest}\"")),
        };
        if self.is_dead {
            return Err("the engine is dead: restart it first".to_owned());
        }
        let outputs: Vec<String> =
            self.engine().await?.program().outputs.iter().map(|output| output.name.clone()).collect();
        self.seen = outputs.into_iter().map(|name| (name.clone(), self.sink.since(&name, 0).len())).collect();
        let crash = self.crash.take();
        if let Some((point, _)) = crash {
            self.faults.arm(point, 0, Action::Error);
        }
        let result = self.engine().await?.batch(max, None).await;
        match (crash, result) {
            (None, Ok(_)) => {}
            (None, Err(error)) => {
                self.engine = None;
                self.is_dead = true;
                self.refused = Some(error);
                return Ok(());
            }
            (Some(_), Ok(_)) => return Err("the crash point was not reached".to_owned()),
            (Some((_, stay)), Err(_)) => {
                self.engine = None;
                self.is_dead = stay;
                if stay {
                    return Ok(());
                }
                self.open().await.map_err(|error| error.to_string())?;
                let was_pending = self.engine().await?.has_pending();
                self.finish_pending().await?;
                if max.is_some() && was_pending {
                    return Ok(());
                }
                self.engine().await?.batch(max, None).await.map_err(|error| error.to_string())?;
            }
        }
        if max.is_none() {
            self.engine().await?.batch(None, None).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn finish_pending(&mut self) -> std::result::Result<(), String> {
        if let Err(error) = self.engine().await?.finish_pending().await {
            self.engine = None;
            self.is_dead = true;
            self.refused = Some(error);
        }
        Ok(())
    }

    async fn expect(&mut self, number: usize, rest: &str) -> std::result::Result<(), String> {
        if rest == "nothing else" {
            self.was_triggered()?;
            self.nothing_else = Some(number);
            return Ok(());
        }
        let (what, value) = rest.split_once(' ').ok_or("expect what?")?;
        match what {
            "watermark" => {
                let found = self.engine().await?.watermark().map_or_else(|| "none".to_owned(), rfc3339);
                let wanted =
                    parse_timestamp(value).map_or_else(|| value.to_owned(), |nanos| rfc3339(nanos as i64));
                if found == wanted {
                    Ok(())
                } else {
                    Err(format!("expected watermark {wanted}, it is {found}"))
                }
            }
            "state" => {
                let (table, count) = value.trim_end().rsplit_once(' ').ok_or("expect state TABLE N")?;
                let found = self.rows_in_state(table).await?;
                if count.trim() == found.to_string() {
                    Ok(())
                } else {
                    Err(format!("expected {count} rows of \"{table}\" in state, there are {found}"))
                }
            }
            output => {
                if !self.engine().await?.program().outputs.iter().any(|known| known.name == output) {
                    return Err(format!("the SQL has no output \"{output}\""));
                }
                self.was_triggered()?;
                self.named.insert(output.to_owned(), number);
                if value != "nothing" {
                    let fields = Json::parse(value).map_err(|error| error.to_string())?;
                    self.expected.push((number, output.to_owned(), fields));
                }
                Ok(())
            }
        }
    }

    /// Outputs can be expected once there was a trigger to write them.
    fn was_triggered(&self) -> std::result::Result<(), String> {
        if self.seen.is_empty() { Err("nothing was triggered yet".to_owned()) } else { Ok(()) }
    }

    async fn rows_in_state(&mut self, table: &str) -> std::result::Result<usize, String> {
        let engine = self.engine().await?;
        let program = engine.program();
        let Some(join) = &program.join else { return Ok(0) };
        let side =
            Side::BOTH.into_iter().find(|&side| program.sources[join.side(side).input.source].name == table);
        side.map(|side| engine.state(side).len()).ok_or_else(|| format!("there is no table \"{table}\""))
    }

    /// Compares what the expectations since the last trigger said with what came.
    fn settle(&mut self) -> std::result::Result<(), (usize, String)> {
        let expected = std::mem::take(&mut self.expected);
        let named = std::mem::take(&mut self.named);
        let nothing_else = self.nothing_else.take();
        for (output, &seen) in &self.seen {
            let line = match (named.get(output), nothing_else) {
                (Some(&line), _) => line,
                (None, Some(line)) => line,
                (None, None) => continue,
            };
            let documents = self.sink.since(output, seen);
            let mut came: Vec<Json> =
                documents.iter().map(|text| Json::parse(text).unwrap_or(Json::Null)).collect();
            for (line, _, fields) in expected.iter().filter(|(_, name, _)| name == output) {
                match came.iter().position(|row| fields.is_part_of(row)) {
                    Some(position) => drop(came.swap_remove(position)),
                    None => {
                        return Err((
                            *line,
                            format!("expected in {output}: {fields}\n  came: {}", list(&came)),
                        ));
                    }
                }
            }
            if !came.is_empty() {
                return Err((line, format!("not expected in {output}: {}", list(&came))));
            }
        }
        Ok(())
    }
}

fn list(rows: &[Json]) -> String {
    if rows.is_empty() {
        return "nothing".to_owned();
    }
    rows.iter().map(|row| format!("\n    {row}")).collect()
}

/// `test`: runs all cases and says of each whether it holds.
pub async fn test(args: &crate::cli::TestArgs) -> Result<std::process::ExitCode> {
    let (mut num_passed, mut num_failed) = (0, 0);
    let mut programs = Programs::new();
    for path in &args.paths {
        for case in discover(path)? {
            match run(&case, &args.sql, &mut programs, &[1]).await {
                Ok(()) => {
                    num_passed += 1;
                    say!("ok      {}", case.display());
                }
                Err(failure) => {
                    num_failed += 1;
                    say!("FAILED  {failure}");
                }
            }
        }
    }
    say!("{num_passed} passed, {num_failed} failed");
    Ok(if num_failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}

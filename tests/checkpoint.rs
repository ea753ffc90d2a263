//! A checkpoint that is damaged, shared, rolled back or old: refused with the file's name, or gone on with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecomm_batch::batch::offset::TopicPartition;
use ecomm_batch::batch::{BatchId, SinkMode};
use ecomm_batch::checkpoint::{Checkpoint, Location};
use ecomm_batch::cli::Shares;
use ecomm_batch::clock::ManualClock;
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::error::{Error, ErrorKind};
use ecomm_batch::faults::{Action, FailPoint, Faults};
use ecomm_batch::mock::plan::{Planner, Timeline, Topic};
use ecomm_batch::mock::reconcile::OUTPUTS;
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::query::side::Side;
use ecomm_batch::ranges::StartingOffsets;
use ecomm_batch::sink::memory::MemorySink;
use ecomm_batch::source::memory::MemorySource;
use ecomm_batch::state::restore;

/// 2026-01-05T12:00:00Z.
const NOW_MS: i64 = 1_767_614_400_000;

/// The producer's data in memory, and engines over it.
struct Pipeline {
    program: Arc<Program>,
    source: Arc<MemorySource>,
    sink: Arc<MemorySink>,
    folder: tempfile::TempDir,
    retain_batches: u64,
}

impl Pipeline {
    fn new(orders: u64) -> Self {
        Self::with(orders, &Shares::WITHOUT_LATE)
    }

    fn with(orders: u64, shares: &Shares) -> Self {
        let folder = SqlFolder::read(Path::new("sql"), |_| None).expect("the shipped SQL");
        let source = Arc::<MemorySource>::default();
        for topic in ["orders", "payments"] {
            source.create(TopicPartition::new(topic, 0));
        }
        let timeline = Timeline::bounded(NOW_MS * 1_000_000, Duration::from_secs(7200), orders);
        for (number, record) in Planner::new(7, shares, timeline).enumerate() {
            let topic = if record.topic == Topic::Orders { "orders" } else { "payments" };
            let tp = TopicPartition::new(topic, (number % 3) as i32);
            source.append(tp, NOW_MS, Some(record.key), Some(record.value));
        }
        Self {
            program: Arc::new(Program::plan(folder).expect("plans")),
            source,
            sink: Arc::default(),
            folder: ecomm_batch::case::scratch_folder().expect("a folder"),
            retain_batches: 100,
        }
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    async fn open(&self) -> Result<Engine, Error> {
        self.open_at(&self.checkpoint()).await
    }

    async fn open_at(&self, checkpoint: &Path) -> Result<Engine, Error> {
        self.open_with(checkpoint, &self.program, false, Arc::default()).await
    }

    async fn open_with(
        &self,
        checkpoint: &Path,
        program: &Arc<Program>,
        replan: bool,
        faults: Arc<Faults>,
    ) -> Result<Engine, Error> {
        let options = EngineOptions {
            checkpoint: checkpoint.into(),
            new_query_id: "checkpoint".to_owned(),
            max_offsets_per_trigger: None,
            starting_offsets: StartingOffsets::Earliest,
            fail_on_data_loss: true,
            retain_batches: self.retain_batches,
            sink_mode: SinkMode::Idempotent,
            groups: None,
            replan,
            faults,
        };
        let stop = tokio::sync::watch::channel(false).1;
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let (program, source) = (Arc::clone(program), Arc::clone(&self.source));
        Engine::open(program, source, Arc::clone(&self.sink) as _, clock, options, stop).await
    }

    /// At most `batches` batches of `max` offsets.
    async fn run(&self, max: u64, batches: usize) -> Engine {
        let mut engine = self.open().await.expect("opens");
        while engine.finish_pending().await.expect("a batch").is_some() {}
        for _ in 0..batches {
            if engine.batch(Some(max), None).await.expect("a batch").is_none() {
                break;
            }
        }
        engine
    }

    fn documents(&self) -> Vec<Vec<String>> {
        OUTPUTS
            .iter()
            .map(|output| {
                let mut documents = self.sink.since(output, 0);
                documents.sort();
                documents
            })
            .collect()
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        std::fs::copy(&file, target).expect("copied");
    }
}

/// Each file missing, empty, cut at every sixteenth, with a bit flipped, or another one of its kind: the
/// engine and `verify` say which, and nothing starts anew.
#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_refused_by_name() {
    let pipeline = Pipeline::new(150);
    drop(pipeline.run(60, 4).await);
    let sound = pipeline.checkpoint();
    let files: Vec<PathBuf> = files_below(&sound)
        .into_iter()
        .map(|file| file.strip_prefix(&sound).expect("below").to_owned())
        .filter(|file| !file.starts_with("lock") && !file.starts_with("epochs"))
        .collect();
    for folder in ["metadata", "sql", "offsets", "state/left", "state/right", "commits"] {
        assert!(files.iter().any(|file| file.starts_with(folder)), "nothing in {folder}: {files:?}");
    }
    let mut num_damages = 0;
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(sound.join(file)).expect("read");
        let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![("empty".to_owned(), Some(Vec::new()))];
        // Without its last outcome a checkpoint is one that was cut short by a crash: it is replayed.
        if !file.ends_with("commits/3") {
            damages.push(("missing".to_owned(), None));
        }
        for part in 1..16 {
            damages.push((format!("cut at {part}/16"), Some(bytes[..bytes.len() * part / 16].to_vec())));
        }
        for part in 0..16 {
            let mut flipped = bytes.clone();
            let at = (bytes.len() - 1) * part / 15;
            flipped[at] ^= 1 << (part % 8);
            damages.push((format!("bit of byte {at} flipped"), Some(flipped)));
        }
        let sibling = |other: &&PathBuf| other.parent() == file.parent() && *other != file;
        if let Some(other) = files.iter().find(sibling).filter(|_| file.parent() != Some(Path::new(""))) {
            damages.push((format!("as {other:?}"), Some(std::fs::read(sound.join(other)).expect("read"))));
        }
        for (what, content) in damages {
            let copied = pipeline.folder.path().join("damaged");
            copy(&sound, &copied);
            match content {
                Some(content) => std::fs::write(copied.join(file), content).expect("written"),
                None => std::fs::remove_file(copied.join(file)).expect("removed"),
            }
            let error = pipeline.open_at(&copied).await.err();
            let error = error.unwrap_or_else(|| panic!("{file:?} {what}: was believed"));
            let name = match file.starts_with("sql") {
                true => "sql/".to_owned(),
                false => file.display().to_string(),
            };
            assert_eq!(error.kind(), ErrorKind::Checkpoint, "{file:?} {what}: {error}");
            let text = error.to_string();
            assert!(text.contains(&name) && text.contains("help:"), "{file:?} {what}: {text}");
            let location = Location::from(copied.as_path());
            let verified =
                restore::verify(&Checkpoint::read_only(&location).expect("opens")).await.expect("looks");
            assert!(verified.problems.iter().any(|problem| problem.to_string().contains(&name)), "{what}");
            std::fs::remove_dir_all(&copied).expect("removed");
            num_damages += 1;
        }
        assert!(number < files.len());
    }
    println!("{num_damages} damages of {} files refused", files.len());
    let location = Location::from(sound.as_path());
    let verified = restore::verify(&Checkpoint::read_only(&location).expect("opens")).await.expect("looks");
    assert!(verified.problems.is_empty() && verified.batches == 4, "{verified:?}");
}

/// What was planned after the batch runs again; no document comes twice, and the end is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_replays_what_was_planned() {
    let pipeline = Pipeline::new(400);
    let engine = pipeline.run(60, 100).await;
    let (documents, watermark) = (pipeline.documents(), engine.watermark());
    let waiting = Side::BOTH.map(|side| engine.state(side).num_waiting());
    drop(engine);
    let location = Location::Folder(pipeline.checkpoint());
    for to in [7, 3, 5] {
        let mut checkpoint = Checkpoint::open(&location, Arc::default()).expect("opens");
        checkpoint.claim().await.expect("claimed");
        let plan = checkpoint.plan_rollback(BatchId(to)).await.expect("possible");
        assert_eq!(plan.again.first(), Some(&BatchId(to + 1)));
        checkpoint.roll_back(&plan).await.expect("done");
        drop(checkpoint);
        if to == 3 {
            // Stopped in the middle of it, and rolled back once more.
            let mut engine = pipeline.open().await.expect("opens");
            for _ in 0..4 {
                engine.finish_pending().await.expect("a batch").expect("planned");
            }
        }
    }
    let engine = pipeline.run(60, 100).await;
    assert!(pipeline.documents() == documents, "documents came twice or went");
    assert_eq!(engine.watermark(), watermark);
    assert_eq!(Side::BOTH.map(|side| engine.state(side).num_waiting()), waiting);
    drop(engine);
    let checkpoint = Checkpoint::open(&location, Arc::default()).expect("opens");
    for to in [10_000, u64::MAX] {
        let error = checkpoint.plan_rollback(BatchId(to)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
    }
    let verified = restore::verify(&checkpoint).await.expect("looks");
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
}

/// A pending batch is taken on with other SQL, and fails at each operation on a checkpoint file in turn: the next
/// start with the flag, or without it once it was taken on, ends with the same documents and state.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_on_through_any_failure() {
    let pipeline = Pipeline::new(150);
    let mut folder = SqlFolder::read(Path::new("sql"), |_| None).expect("the shipped SQL");
    let letters =
        folder.files.iter_mut().find(|file| file.path.ends_with("dead_letters.sql")).expect("there");
    letters.text =
        letters.text.replacen("    reason,", "    reason, 1 / (\"offset\" - \"offset\") AS share,", 1);
    let broken = Arc::new(Program::plan(folder).expect("plans"));
    let stuck = pipeline.folder.path().join("stuck");
    let mut engine = pipeline.open_with(&stuck, &broken, false, Arc::default()).await.expect("opens");
    let error = loop {
        // A malformed record comes up in one of the first batches.
        match engine.batch(Some(60), None).await {
            Ok(progress) => assert!(progress.is_some(), "no letter was written"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("--replan"), "{error}");
    drop(engine);
    let finish = async |checkpoint: &Path, replan: bool| {
        let mut engine = pipeline.open_with(checkpoint, &pipeline.program, replan, Arc::default()).await?;
        while engine.finish_pending().await?.is_some() {}
        while engine.batch(Some(60), None).await?.is_some() {}
        let waiting = Side::BOTH.map(|side| engine.state(side).num_waiting());
        Ok::<_, Error>((waiting, engine.watermark()))
    };
    let whole = pipeline.folder.path().join("whole");
    copy(&stuck, &whole);
    let end = finish(&whole, true).await.expect("taken on");
    let documents = pipeline.documents();
    let (mut num_failures, mut num_taken_on) = (0, 0);
    for skip in 0.. {
        let faults = Arc::new(Faults::default());
        faults.arm(FailPoint::CheckpointFile, skip, Action::Error);
        let checkpoint = pipeline.folder.path().join("again");
        copy(&stuck, &checkpoint);
        let failed = match pipeline.open_with(&checkpoint, &pipeline.program, true, faults).await {
            Ok(mut engine) => engine.finish_pending().await.err(),
            Err(error) => Some(error),
        };
        let Some(failed) = failed else { break };
        assert!(failed.to_string().contains("fail point"), "{failed}");
        num_failures += 1;
        let again = match finish(&checkpoint, false).await {
            Ok(again) => {
                num_taken_on += 1;
                again
            }
            // It still has its own SQL.
            Err(error) => {
                assert!(error.to_string().contains("--replan"), "{error}");
                finish(&checkpoint, true).await.expect("taken on")
            }
        };
        assert_eq!(again, end, "after {skip} operations");
        assert!(pipeline.documents() == documents, "after {skip} operations documents came twice or went");
        std::fs::remove_dir_all(&checkpoint).expect("removed");
    }
    println!("{num_failures} failures of a batch that is taken on; after {num_taken_on} of them it was");
    assert!(num_taken_on > 10 && num_failures > num_taken_on + 10);

    // What says so is part of the checkpoint.
    let replans = whole.join("replans");
    let record =
        std::fs::read_dir(&replans).expect("a folder").next().expect("a record").expect("an entry").path();
    let bytes = std::fs::read(&record).expect("read");
    for damage in [None, Some(Vec::new()), Some(bytes[..bytes.len() / 2].to_vec()), Some(b"{}".to_vec())] {
        match &damage {
            None => std::fs::remove_file(&record).expect("removed"),
            Some(bytes) => std::fs::write(&record, bytes).expect("written"),
        }
        let error = pipeline.open_at(&whole).await.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
        assert!(error.to_string().contains("replans/"), "{damage:?}: {error}");
    }
    std::fs::write(&record, bytes).expect("written");
    drop(pipeline.open_at(&whole).await.expect("sound again"));
}

/// The lock is taken away; the older engine, gone on with after the newer one, writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_engine_is_fenced() {
    let pipeline = Pipeline::new(400);
    let mut old = pipeline.open().await.expect("opens");
    old.batch(Some(60), None).await.expect("a batch");
    let error = pipeline.open().await.err().expect("the lock is held");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    std::fs::remove_file(pipeline.checkpoint().join("lock")).expect("removed");
    let mut new = pipeline.open().await.expect("opens");
    new.batch(Some(60), None).await.expect("a batch");
    let before: Vec<_> = files_below(&pipeline.checkpoint());
    let error = old.batch(Some(60), None).await.expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(files_below(&pipeline.checkpoint()), before);
    new.batch(Some(60), None).await.expect("a batch");
}

/// It wakes up while it cleans: what the newer one has written and not yet named is none of its business.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_engine_removes_nothing_of_a_newer_one() {
    let pipeline = Pipeline::new(400);
    let mut engine = pipeline.open().await.expect("opens");
    engine.batch(Some(60), None).await.expect("a batch");
    drop(engine);
    let location = Location::Folder(pipeline.checkpoint());
    let mut old = Checkpoint::open(&location, Arc::default()).expect("opens");
    old.claim().await.expect("claimed");
    std::fs::remove_file(pipeline.checkpoint().join("lock")).expect("removed");
    let mut new = Checkpoint::open(&location, Arc::default()).expect("opens");
    new.claim().await.expect("claimed");
    let bytes = bytes::Bytes::from_static(b"of the newer one");
    let file = new.write_state(Side::Left, BatchId(1), "delta", &bytes).await.expect("written");
    let last = new.recover().await.expect("whole").and_then(|found| found.commit).expect("a commit");
    let error = old.clean(&last).await.expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(pipeline.checkpoint().join(&file.name).exists());
    // Its own attempt that no commit names is rubbish.
    new.clean(&last).await.expect("cleaned");
    assert!(!pipeline.checkpoint().join(&file.name).exists());
}

/// Files and bytes depend on what is retained, not on how many batches there were.
///
/// `ECOMM_BATCH_TEST_BATCHES` sets how many.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_stays_small() {
    let batches: u64 =
        std::env::var("ECOMM_BATCH_TEST_BATCHES").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let mut pipeline = Pipeline::new(batches * 3);
    pipeline.retain_batches = 20;
    let mut engine = pipeline.open().await.expect("opens");
    let (mut most_files, mut most_bytes, mut first_bytes) = (0, 0, 0);
    for number in 0..batches {
        engine.batch(Some(6), None).await.expect("a batch").expect("records");
        if number % 50 == 49 {
            let files = files_below(&pipeline.checkpoint());
            let bytes = files.iter().map(|file| std::fs::metadata(file).expect("a file").len()).sum::<u64>();
            most_files = most_files.max(files.len());
            most_bytes = most_bytes.max(bytes);
            if number < batches / 2 {
                first_bytes = most_bytes;
            }
        }
    }
    println!("{batches} batches: at most {most_files} files and {most_bytes} bytes");
    // Two JSON files and two deltas of each retained batch, and of those since the last cleaning; then the
    // deltas since a snapshot.
    assert!(most_files < 4 * 31 + 2 * 101 + 10, "{most_files} files");
    assert!(most_bytes < 2 * first_bytes, "{most_bytes} bytes, {first_bytes} in the first half");
}

/// How long a restart takes is a matter of the rows in state. `ECOMM_BATCH_TEST_ROWS` sets how many wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_every_waiting_row() {
    let rows: u64 =
        std::env::var("ECOMM_BATCH_TEST_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000);
    let pipeline = Pipeline::with(rows, &Shares { unpaid: 1.0, ..Shares::NONE });
    let engine = pipeline.run(rows.div_ceil(20), 30).await;
    assert_eq!(engine.state(Side::Left).num_waiting() as u64, rows);
    drop(engine);
    let started = Instant::now();
    let engine = pipeline.open().await.expect("opens");
    println!("{rows} waiting rows are back after {:?}", started.elapsed());
    assert_eq!(engine.state(Side::Left).num_waiting() as u64, rows);
}

/// A checkpoint of format 1 as it was written when there was no other: it opens for ever.
///
/// `UPDATE_FIXTURES=1` writes it anew, for a new format beside the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_format_1_opens() {
    let stored = Path::new("tests/checkpoint/format-1");
    if std::env::var("UPDATE_FIXTURES").is_ok() {
        let pipeline = Pipeline::new(30);
        drop(pipeline.run(20, 3).await);
        std::fs::remove_dir_all(stored).ok();
        copy(&pipeline.checkpoint(), stored);
    }
    let checkpoint = Checkpoint::read_only(&stored.into()).expect("opens");
    let verified = restore::verify(&checkpoint).await.expect("looks");
    assert!(verified.problems.is_empty() && verified.batches == 3, "{verified:?}");
    let recovered = checkpoint.recover().await.expect("sound").expect("a checkpoint");
    let plan = recovered.last_plan.expect("a plan");
    let commit = recovered.commit.expect("a commit");
    assert_eq!((plan.id, commit.batch_id, plan.sink), (BatchId(2), BatchId(2), SinkMode::Idempotent));
    assert_eq!(commit.total.records, 54);
    let program = checkpoint.program(&plan.program).await.expect("its SQL");
    let program = Program::plan(program).expect("plans");
    let mut rows = Vec::new();
    for side in Side::BOTH {
        rows.push(
            restore::load(&checkpoint, &program, side, Some(&commit)).await.expect("its state").len() as u64
        );
    }
    assert_eq!(rows, commit.rows);
    assert!(rows.iter().sum::<u64>() > 0);
}

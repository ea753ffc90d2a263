//! What reaches the disk, in which order, and what is left when the power fails, or the disk is full.
//!
//! The system calls of a real run are traced. The law of a checkpoint file is looked up in them (synced,
//! then published, then its folder synced), and from what was durable after each of them the engine goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ecomm_batch::cli::Shares;
use ecomm_batch::mock::produce::{ProduceSettings, send};
use ecomm_batch::source::kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;

struct Pipeline {
    _cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    brokers: String,
    folder: tempfile::TempDir,
}

impl Pipeline {
    async fn new() -> Self {
        let cluster = MockCluster::new(1).expect("a broker");
        for topic in ["orders", "payments"] {
            cluster.create_topic(topic, 3, 1).expect("a topic");
        }
        let brokers = cluster.bootstrap_servers();
        let settings = ProduceSettings {
            kafka: KafkaConfig::new(&brokers, BTreeMap::new()),
            rate: None,
            count: Some(150),
            span: Duration::from_secs(7200),
            seed: 1,
            shares: Shares::WITHOUT_LATE,
            orders_topic: "orders".to_owned(),
            payments_topic: "payments".to_owned(),
        };
        send(settings, tokio::sync::watch::channel(false).1, false).await.expect("produces");
        Self { _cluster: cluster, brokers, folder: tempfile::tempdir().expect("a folder") }
    }

    fn arguments(&self, command: &mut Command, folder: &Path) {
        command
            .args(["run", "--trigger", "available-now", "--max-offsets-per-trigger", "60"])
            .args(["--console", "off", "--brokers", &self.brokers, "--checkpoint"])
            .arg(folder.join("checkpoint"))
            .arg("--outputs")
            .arg(folder.join("outputs"));
    }

    fn run(&self, folder: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecomm-batch"));
        self.arguments(&mut command, folder);
        command.output().expect("runs")
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a traced call does to files.
#[derive(Debug)]
enum Call {
    MakeFolder(PathBuf),
    Write(PathBuf),
    Sync(PathBuf),
    /// To the second name; the first one goes too, if it is a rename.
    Publish(PathBuf, PathBuf),
}

/// The calls below `root` that succeeded, in the order they were done.
fn calls(trace: &str, root: &Path) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let joined;
        let call = if let Some(head) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(process, head);
            continue;
        } else if call.starts_with("<... ") {
            let Some(head) = begun.remove(process) else { continue };
            joined = format!("{head}{}", call.split_once("resumed>").map_or("", |(_, rest)| rest));
            joined.as_str()
        } else {
            call
        };
        if call.contains(" = -1 ") {
            continue;
        }
        let quoted: Vec<PathBuf> = call.split('"').skip(1).step_by(2).map(PathBuf::from).collect();
        let descriptor =
            || call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.into());
        let name = call.split('(').next().unwrap_or_default();
        let parsed = match name {
            "mkdir" | "mkdirat" => quoted.first().cloned().map(Call::MakeFolder),
            "write" | "pwrite64" => descriptor().map(Call::Write),
            "fsync" | "fdatasync" => descriptor().map(Call::Sync),
            "link" | "linkat" | "rename" | "renameat" | "renameat2" => match quoted.as_slice() {
                [from, to] => Some(Call::Publish(from.clone(), to.clone())),
                _ => None,
            },
            _ => None,
        };
        let is_below = |path: &PathBuf| path.starts_with(root);
        found.extend(parsed.filter(|call| match call {
            Call::MakeFolder(path) | Call::Write(path) | Call::Sync(path) | Call::Publish(_, path) => {
                is_below(path)
            }
        }));
    }
    found
}

fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("read"));
        }
    }
    found
}

fn outputs(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = folder.join("outputs");
    let relative = |path: PathBuf| path.strip_prefix(&root).expect("below").to_owned();
    files_below(&root).into_iter().map(|(path, bytes)| (relative(path), bytes)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_may_fail_after_every_call() {
    let pipeline = Pipeline::new().await;
    let root = pipeline.folder.path().canonicalize().expect("a folder").join("traced");
    std::fs::create_dir(&root).expect("made");
    let trace = pipeline.folder.path().join("trace");
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-y",
        "-s",
        "300",
        "-e",
        "trace=mkdir,mkdirat,write,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,renameat2",
        "-o",
    ]);
    command.arg(&trace).arg(env!("CARGO_BIN_EXE_ecomm-batch"));
    pipeline.arguments(&mut command, &root);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
            eprintln!("SKIPPED: no strace: {error}");
            return;
        }
    };
    assert!(output.status.success(), "{}", text(&output));
    let calls = calls(&std::fs::read_to_string(&trace).expect("a trace"), &root);
    let finals = files_below(&root);
    let wanted = outputs(&root);
    assert!(wanted.len() > 10, "{:?}", wanted.keys());

    let mut unsynced_content: BTreeSet<PathBuf> = BTreeSet::new();
    let mut unsynced_names: BTreeSet<PathBuf> = BTreeSet::new();
    let mut durable: BTreeSet<PathBuf> = BTreeSet::new();
    let mut states: Vec<BTreeSet<PathBuf>> = vec![BTreeSet::new()];
    let mut published = BTreeSet::new();
    for call in calls {
        match call {
            Call::MakeFolder(path) => drop(unsynced_names.insert(path)),
            Call::Write(path) => drop(unsynced_content.insert(path)),
            Call::Publish(from, to) => {
                assert!(!unsynced_content.contains(&from), "{to:?} was published before {from:?} was synced");
                let waiting: Vec<_> = unsynced_names.iter().collect();
                assert!(waiting.is_empty(), "{to:?} was published before the names {waiting:?} were synced");
                published.insert(to.clone());
                unsynced_names.insert(to);
            }
            Call::Sync(path) => {
                unsynced_content.remove(&path);
                let (now, later): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) =
                    unsynced_names.into_iter().partition(|name| name.parent() == Some(path.as_path()));
                unsynced_names = later;
                if !now.is_empty() {
                    durable.extend(now);
                    states.push(durable.clone());
                }
            }
        }
    }
    assert!(unsynced_names.is_empty(), "never synced: {unsynced_names:?}");
    for folder in ["metadata", "sql", "offsets", "state/left", "state/right", "commits", "epochs"] {
        let folder = root.join("checkpoint").join(folder);
        assert!(
            published.iter().any(|path| path.starts_with(&folder)),
            "nothing was published in {folder:?}"
        );
    }

    // Names that were not synced are gone, and what was not synced is not in a published file.
    for (number, state) in states.iter().enumerate() {
        let folder = pipeline.folder.path().join(format!("after-{number}"));
        for path in state {
            let target = folder.join(path.strip_prefix(&root).expect("below"));
            match finals.get(path) {
                Some(bytes) => {
                    std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
                    std::fs::write(target, bytes).expect("written");
                }
                None => std::fs::create_dir_all(target).expect("made"),
            }
        }
        let output = pipeline.run(&folder);
        assert!(output.status.success(), "after {number} of {}: {}", states.len(), text(&output));
        assert!(outputs(&folder) == wanted, "after {number}: {:?}", outputs(&folder).keys());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    println!("{} states of the disk recovered from", states.len());
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).output().is_ok_and(|output| output.status.success())
}

/// A disk that is full or read-only: exit 1 with the cause; once there is room, the same end as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_disk_stops_the_engine_and_harms_nothing() {
    let pipeline = Pipeline::new().await;
    let plain = pipeline.folder.path().join("plain");
    assert!(pipeline.run(&plain).status.success());
    let folder = pipeline.folder.path().join("small");
    let disk = folder.join("checkpoint");
    std::fs::create_dir_all(&disk).expect("made");
    if !mount(&["-t", "tmpfs", "-o", "size=48k", "tmpfs"], &disk) {
        assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: mounting a disk needs root");
        eprintln!("SKIPPED: mounting a small disk needs root");
        return;
    }
    let mut num_full = 0;
    for size in ["size=48k", "size=64k", "size=96k", "size=120k"] {
        assert!(mount(&["-o", &format!("remount,{size}")], &disk));
        let full = pipeline.run(&folder);
        if !full.status.success() {
            assert_eq!(full.status.code(), Some(1), "{}", text(&full));
            assert!(
                text(&full).contains("No space left") && text(&full).contains("free space"),
                "{}",
                text(&full)
            );
            num_full += 1;
        }
    }
    assert!(mount(&["-o", "remount,ro"], &disk));
    let read_only = pipeline.run(&folder);
    assert!(mount(&["-o", "remount,rw,size=16m"], &disk));
    let done = pipeline.run(&folder);
    let again = pipeline.run(&folder);
    let left = outputs(&folder);
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(num_full > 1, "{num_full}");
    assert_eq!(read_only.status.code(), Some(1), "{}", text(&read_only));
    assert!(text(&read_only).contains("Read-only file system"), "{}", text(&read_only));
    assert!(done.status.success() && again.status.success(), "{}{}", text(&done), text(&again));
    assert!(left == outputs(&plain), "{:?}", left.keys());
}

//! The rooms of the tree: an import goes down, never up, and some rooms know nothing of others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the top to the ground. A room imports those below it.
const FLOORS: [&str; 28] = [
    "commands",
    "mock",
    "case",
    "settings",
    "console",
    "cli",
    "engine",
    "stage",
    "runner",
    "observe",
    "exact_json",
    "ranges",
    "state",
    "checkpoint",
    "sink",
    "query",
    "decode",
    "source",
    "s3",
    "retry",
    "now",
    "batch",
    "faults",
    "durable",
    "secret",
    "signals",
    "error",
    "clock",
];

/// Words that every floor may use.
const GROUND: [&str; 2] = ["duration", "stdout"];

/// Who never names whom, beyond the floors, and why.
const NEVER: [(&str, &[&str], &str); 8] = [
    ("console", &["engine", "stage", "state"], "a page never holds up a batch"),
    (
        "stage",
        &["checkpoint", "source::kafka", "sink::mongodb"],
        "a stage computes a value; the engine commits it",
    ),
    ("runner", &["query", "source", "state", "sink"], "tasks run without it knowing what they do"),
    ("query", &["checkpoint", "sink", "source::kafka"], "SQL is planned without any service"),
    ("source", &["query", "sink"], "records are fetched without knowing what for"),
    ("sink", &["checkpoint", "engine", "source::kafka"], "rows are stored without knowing whence"),
    ("state", &["sink", "source::kafka"], "rows wait without knowing who reads or writes"),
    (
        "checkpoint",
        &["state", "query::join_view"],
        "it keeps files; what they mean to a join is not its concern",
    ),
];

/// What would make two runs over the same records differ, or hold one up; who may use it all the same, and why.
const ONLY: [(&str, &[&str], &str); 5] = [
    ("SystemTime::now", &["clock.rs"], "the time of a batch is in its plan"),
    (
        "sleep(",
        &[
            "retry.rs",
            "engine/mod.rs",
            "source/kafka.rs",
            "source/topics.rs",
            "sink/mongodb/mod.rs",
            "checkpoint/directory.rs",
            "console/listener.rs",
            "mock/produce.rs",
        ],
        "a service is waited for by `retry`; beside it an idle engine, a poll of what gives no notice, and a producer's pace",
    ),
    (
        "Uuid::new_v4",
        &["engine/mod.rs", "commands/run.rs", "checkpoint/mod.rs", "checkpoint/directory.rs"],
        "a name of a query, a run, an engine or a temporary file, never a value",
    ),
    (
        "rand::",
        &["mock/produce.rs", "mock/plan.rs", "console/sessions.rs"],
        "data is made up from a seed, a session's secret from chance",
    ),
    (
        "spawn_blocking",
        &["source/kafka.rs", "source/topics.rs", "console/kafka.rs", "mock/produce.rs"],
        "tasks of a batch go through the runner",
    ),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The paths below the crate that a text names, without those of its unit tests.
fn names(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let parts = code.split("crate::").skip(1);
    let path = |part: &str| {
        part.chars()
            .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(*c))
            .collect::<String>()
    };
    parts.map(path).filter(|path| !path.is_empty()).collect()
}

/// The room that a file of `src` is in.
fn room(file: &Path) -> String {
    let first = file.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for file in &found {
        let place = file.strip_prefix(&root).expect("below src");
        let room = room(place);
        if ["lib", "main"].contains(&room.as_str()) || GROUND.contains(&room.as_str()) {
            continue;
        }
        let floor = FLOORS.iter().position(|of| *of == room);
        let Some(floor) = floor else {
            problems.push(format!("src/{room} has no floor: say in FLOORS what it may import"));
            continue;
        };
        seen.insert(room.clone());
        for name in names(&std::fs::read_to_string(file).expect("reads")) {
            let other = name.split("::").next().unwrap_or_default();
            let below = FLOORS.iter().position(|of| *of == other);
            if other != room && !GROUND.contains(&other) && below.is_none_or(|below| below < floor) {
                problems.push(format!("src/{} imports {name}, which is above", place.display()));
            }
            for (who, whom, why) in NEVER.iter().filter(|(who, ..)| *who == room) {
                if let Some(whom) =
                    whom.iter().find(|whom| name == **whom || name.starts_with(&format!("{whom}::")))
                {
                    problems.push(format!("src/{} names {whom}; {who} never does: {why}", place.display()));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(seen.len(), FLOORS.len(), "a floor without a room: {seen:?}");
}

#[test]
fn time_pauses_and_chance_stay_in_their_rooms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let mut problems = Vec::new();
    for (word, rooms, why) in ONLY {
        let mut using = BTreeSet::new();
        for file in &found {
            let text = std::fs::read_to_string(file).expect("reads");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            if code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) {
                using.insert(file.strip_prefix(&root).expect("below src").display().to_string());
            }
        }
        let allowed: BTreeSet<String> = rooms.iter().map(ToString::to_string).collect();
        problems.extend(using.difference(&allowed).map(|file| format!("src/{file} uses {word}: {why}")));
        problems.extend(allowed.difference(&using).map(|file| format!("src/{file} no longer uses {word}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_are_read_from_code_and_not_from_tests() {
    let text =
        "use crate::a::b::{C, d};\nlet x = crate::e::f();\n#[cfg(test)]\nmod tests {\n use crate::g;\n}";
    assert_eq!(names(text), ["a::b::".to_owned(), "e::f".to_owned()].into());
}

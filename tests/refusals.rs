//! Broken SQL folders: `check` says of each what is wrong, where, and what to write instead.
//!
//! A file under `tests/refusals` has the files that differ from `tests/cases/sql/full-view`, and the
//! message that is expected. `UPDATE_REFUSALS=1` writes the messages anew, to be read before they are committed.

use std::path::{Path, PathBuf};

use super::wire::ecomm_batch;

struct Refusal {
    path: PathBuf,
    /// Everything before the expected message.
    given: String,
    expected: String,
}

const EXPECTED: &str = "==> expected\n";

fn refusals() -> Vec<Refusal> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir("tests/refusals")
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        let (given, expected) = text.split_once(EXPECTED).expect("an expected message");
        Refusal { path, given: given.to_owned(), expected: expected.to_owned() }
    };
    paths.into_iter().map(read).collect()
}

impl Refusal {
    /// The SQL folder that it describes.
    fn write_to(&self, folder: &Path) {
        copy(Path::new("tests/cases/sql/full-view"), folder);
        for part in self.given.split("==> ").skip(1) {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            match name.strip_suffix(" removed") {
                Some(name) => std::fs::remove_file(folder.join(name)).expect("removed"),
                None => {
                    let path = folder.join(name);
                    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
                    std::fs::write(path, text).expect("written");
                }
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn every_broken_folder_is_refused_with_its_own_message() {
    let update = std::env::var("UPDATE_REFUSALS").is_ok();
    let mut wrong = Vec::new();
    let mut messages = std::collections::BTreeSet::new();
    for refusal in refusals() {
        let folder = tempfile::tempdir().expect("a folder");
        let sql = folder.path().join("sql");
        refusal.write_to(&sql);
        let output = ecomm_batch().args(["check", "--sql"]).arg(&sql).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).replace(&sql.display().to_string(), "sql");
        let name = refusal.path.display();
        if output.status.code() != Some(2) || !stderr.starts_with("error: ") || stderr.contains("panicked") {
            wrong.push(format!("{name}: exit {:?}\n{stderr}", output.status.code()));
        } else if update {
            std::fs::write(&refusal.path, format!("{}{EXPECTED}{stderr}", refusal.given)).expect("written");
        } else if stderr != refusal.expected {
            wrong.push(format!("{name}: expected\n{}came\n{stderr}", refusal.expected));
        }
        assert!(messages.insert(stderr), "{name}: another folder has the same message");
    }
    assert!(messages.len() >= 20, "only {} folders", messages.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

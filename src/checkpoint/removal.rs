//! Removing a checkpoint: what an engine wrote, and nothing else that lies in its place.
//!
//! `metadata` goes first: whatever is left after an interruption is refused as a checkpoint that has lost
//! it, and removed by the next attempt.

use super::{Checkpoint, Location, STATE_FOLDERS};
use crate::error::Result;

/// The folders that hold files only.
const FOLDERS: [&str; 7] =
    ["commits", "offsets", "replans", "rollbacks", STATE_FOLDERS[0], STATE_FOLDERS[1], "epochs"];

impl Checkpoint {
    /// The files of the checkpoint in the order in which they are removed.
    pub async fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        if self.store.read("metadata").await?.is_some() {
            files.push("metadata".to_owned());
        }
        let of_programs = self.store.list("sql").await?.into_iter().map(|hash| format!("sql/{hash}"));
        for folder in FOLDERS.map(str::to_owned).into_iter().chain(of_programs) {
            let names = self.store.list(&folder).await?;
            files.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
        }
        Ok(files)
    }

    /// Whether a local folder is there that holds nothing but a checkpoint, or what an interrupted removal has
    /// left of one.
    pub fn is_own_folder(&self) -> bool {
        const NAMES: [&str; 9] =
            ["metadata", "lock", "commits", "offsets", "replans", "rollbacks", "state", "sql", "epochs"];
        let Location::Folder(root) = &self.location else { return false };
        std::fs::read_dir(root).is_ok_and(|entries| {
            entries.flatten().all(|entry| NAMES.iter().any(|name| entry.file_name() == *name))
        })
    }

    /// Removes it, after [`Checkpoint::claim`].
    pub async fn remove(&self) -> Result<()> {
        let programs = self.store.list("sql").await?;
        for file in self.files().await? {
            self.store.remove(&file).await?;
        }
        let of_programs = programs.into_iter().map(|hash| format!("sql/{hash}"));
        let folders = FOLDERS.map(str::to_owned).into_iter().chain(of_programs);
        for folder in folders.chain(["sql".to_owned(), "state".to_owned()]) {
            self.store.remove_folder(&folder).await?;
        }
        self.store.remove("lock").await?;
        self.store.remove_folder("").await
    }
}

//! Files that are there whole or not at all, and stay.
//!
//! A file is written under a temporary name, fsynced, published by a hard link (which never
//! overwrites), and its directory is fsynced. Directories are 0700 and files 0600: they hold
//! customer data.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::store::Store;
use crate::durable::{failed, make_folder, sync_folder, write};
use crate::error::{Error, ErrorKind, Result};
use crate::faults::{FailPoint, Faults};

/// For how long a lock that another process holds is asked for again.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How the names of files end that are not published yet.
const TEMPORARY: &str = "tmp";

/// How often.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A checkpoint's directory, locked by this process or opened for reading.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    faults: Arc<Faults>,
    /// Ends the temporary names of this process, so that two engines never share one.
    suffix: String,
    /// Held for its lock.
    _lock: Option<File>,
}

impl Directory {
    /// Opens and locks the directory, making it if it is new.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if another engine holds it.
    pub fn lock(root: &Path, faults: Arc<Faults>) -> Result<Self> {
        make_folder(root)?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        match patiently(|| lock.try_lock()) {
            Ok(()) => {
                let suffix = format!("{}.{TEMPORARY}", uuid::Uuid::new_v4().simple());
                let directory = Self { root: root.to_owned(), faults, suffix, _lock: Some(lock) };
                directory.remove_unpublished(root)?;
                Ok(directory)
            }
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Fenced,
                format!("the checkpoint \"{}\" is in use by another engine", root.display()),
            )
            .advise("stop the other one, or give this one a checkpoint of its own with --checkpoint")),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
        }
    }

    /// Opens it for reading only, locked or not.
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.to_owned(), faults: Arc::default(), suffix: String::new(), _lock: None }
    }

    /// Removes what a crash left under temporary names.
    fn remove_unpublished(&self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.remove_unpublished(&path)?;
            } else if is_unpublished(&path) {
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Before each operation on a file.
    fn step(&self) -> Result<()> {
        self.faults.pass(FailPoint::CheckpointFile)
    }
}

#[async_trait]
impl Store for Directory {
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        self.step()?;
        make_folder(folder)?;
        let temporary = path.with_added_extension(&self.suffix);
        self.step()?;
        let file = write(&temporary, bytes).map_err(|source| failed("write", &temporary, source))?;
        self.step()?;
        file.sync_all().map_err(|source| failed("sync", &temporary, source))?;
        self.step()?;
        fs::hard_link(&temporary, &path).map_err(|source| match source.kind() {
            IoKind::AlreadyExists => {
                Error::new(ErrorKind::Fenced, format!("another engine has written \"{}\"", path.display()))
                    .advise("leave the work to it, or stop it and start this one again")
            }
            _ => failed("publish", &path, source),
        })?;
        self.step()?;
        fs::remove_file(&temporary).map_err(|source| failed("remove", &temporary, source))?;
        self.step()?;
        sync_folder(folder)
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.step()?;
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(source) if source.kind() == IoKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.step()?;
        let path = self.root.join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(source) if source.kind() == IoKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed("list", &path, source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry
                .map_err(|source| failed("list", &path, source))?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if !name.ends_with(".tmp") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.step()?;
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != IoKind::NotFound => Err(failed("remove", &path, source)),
            _ => Ok(()),
        }
    }

    async fn remove_folder(&self, name: &str) -> Result<()> {
        self.step()?;
        let path = if name.is_empty() { self.root.clone() } else { self.root.join(name) };
        match fs::remove_dir(&path) {
            Err(source) if !matches!(source.kind(), IoKind::NotFound | IoKind::DirectoryNotEmpty) => {
                Err(failed("remove", &path, source))
            }
            _ => Ok(()),
        }
    }
}

/// Whether it is a file under a temporary name of ours: others that end so may lie where somebody keeps them.
fn is_unpublished(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut parts = name.rsplit('.');
    parts.next() == Some(TEMPORARY) && parts.next().is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// An engine that is just ending, or a process that it was starting just then, may hold the lock a moment
/// longer.
fn patiently(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    let started = Instant::now();
    loop {
        match try_lock() {
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_POLL)
            }
            other => return other,
        }
    }
}

/// What a start has to make of a checkpoint's folder and of those above it: a start that fails before there is
/// anything in it leaves nothing behind.
#[derive(Debug)]
pub struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// The folders down to `root` that are not there yet, the lowest first.
    pub fn of(root: &Path) -> Self {
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        Self(root.ancestors().take_while(is_missing).map(Path::to_owned).collect())
    }

    /// Removes them again, with the traces of a start, unless a query was begun there.
    pub fn remove_unused(&self) -> Result<()> {
        let Some(root) = self.0.first().filter(|root| !root.join("metadata").exists()) else { return Ok(()) };
        let epochs = fs::read_dir(root.join("epochs")).into_iter().flatten().flatten();
        let files = epochs.map(|entry| entry.path()).chain([root.join("lock")]);
        let folders = [root.join("epochs")].into_iter().chain(self.0.iter().cloned());
        let removed = files.map(|file| (fs::remove_file(&file), file));
        let removed = removed.chain(folders.map(|folder| (fs::remove_dir(&folder), folder)));
        for (result, path) in removed {
            match result {
                Err(source) if !matches!(source.kind(), IoKind::NotFound | IoKind::DirectoryNotEmpty) => {
                    return Err(failed("remove", &path, source));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

//! Files and folders that only their owner reads, and that are there after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Makes a folder that only its owner can enter, and those above it; each name is durable on return.
pub fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != IoKind::AlreadyExists => Err(failed("make", path, source)),
        _ => sync_folder(parent),
    }
}

/// Writes a file and syncs its bytes, not its name.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).and_then(|file| file.sync_all()).map_err(|source| failed("write", path, source))
}

/// Writes a file; nothing is synced.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|source| failed("sync", folder, source))
}

/// A disk that does not do what it should, with what to do.
pub(crate) fn failed(action: &str, path: &Path, source: std::io::Error) -> Error {
    Error::internal(format!("could not {action} \"{}\"", path.display()))
        .because(source)
        .advise("check the rights and the free space of the checkpoint's disk, then start again: the batch runs again")
}

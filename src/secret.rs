//! What nobody else should see: read from files of their owner alone, and never printed.

use std::path::Path;

use crate::error::{Error, Result};

/// A MongoDB connection string; never printed.
#[derive(Clone)]
pub struct MongoDbUri(pub String);

impl std::fmt::Debug for MongoDbUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Reads a file that may hold a secret; others should not be able to.
pub(crate) fn read_secret(path: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let cannot_read = |source: std::io::Error| {
        Error::config(format!("could not read \"{}\"", path.display())).because(source)
    };
    let mode = std::fs::metadata(path).map_err(cannot_read)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("\"{}\" can be read by others: chmod 600 it", path.display());
    }
    Ok(std::fs::read_to_string(path).map_err(cannot_read)?.trim().to_owned())
}

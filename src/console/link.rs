//! The one-time link: a file that only its owner can read, for who starts the engine without a terminal.

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::cli::ConsoleArgs;
use crate::error::{Error, Result};
use crate::stdout::say;

/// Where the link of the console at one port lies.
#[derive(Debug)]
pub(super) struct LinkFile {
    path: PathBuf,
    host: SocketAddr,
}

impl LinkFile {
    pub(super) fn of(host: SocketAddr) -> Self {
        let user = rustix::process::getuid().as_raw();
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self {
            path: folder.join(format!("ecomm-batch-{user}")).join(format!("console-{}.link", host.port())),
            host,
        }
    }

    /// What a browser opens.
    pub(super) fn address(&self, token: &str) -> String {
        let host =
            if self.host.ip().is_unspecified() { "localhost".to_owned() } else { self.host.ip().to_string() };
        let host =
            if self.host.is_ipv6() && !self.host.ip().is_unspecified() { format!("[{host}]") } else { host };
        format!("http://{host}:{}/login?once={token}", self.host.port())
    }

    /// Writes the link of `token`; what goes wrong is said, since the console works without.
    pub(super) fn write(&self, token: &str) {
        if let Err(error) = self.try_write(token) {
            tracing::warn!("the console's link could not be written to \"{}\": {error}", self.path.display());
        }
    }

    fn try_write(&self, token: &str) -> std::io::Result<()> {
        use std::io::Write;
        self.own_folder()?;
        let part = self.path.with_extension("part");
        // Whatever lies there is of an engine that was killed.
        let _ = std::fs::remove_file(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        writeln!(file, "{}", self.address(token))?;
        std::fs::rename(&part, &self.path)
    }

    /// The folder, if it is ours alone: in a folder that all write to somebody else could have made it.
    fn own_folder(&self) -> std::io::Result<()> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = std::fs::symlink_metadata(folder)?;
        let is_ours =
            found.is_dir() && found.uid() == rustix::process::getuid().as_raw() && found.mode() & 0o077 == 0;
        if is_ours { Ok(()) } else { Err(std::io::Error::other("the folder belongs to somebody else")) }
    }

    /// Removes it: a link without a console is of no use. The folder stays for others.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn read(&self) -> std::io::Result<String> {
        self.own_folder()?;
        Ok(std::fs::read_to_string(&self.path)?.trim().to_owned())
    }
}

/// `console link`: prints the link of the console that runs on this machine, for this user.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): there is none.
pub fn print(args: &ConsoleArgs) -> Result<()> {
    let host: SocketAddr = args
        .console
        .replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| Error::config(format!("--console \"{}\" is no address", args.console)))?;
    let file = LinkFile::of(host);
    let link = file.read().map_err(|source| {
        Error::config(format!("no console with a link runs on port {} for this user", host.port()))
            .because(source)
            .advise("a console with users has no link; in a container ask there: docker compose exec engine ecomm-batch console link")
    })?;
    say!("{link}");
    Ok(())
}

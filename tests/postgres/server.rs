//! A PostgreSQL of the tests' own: a cluster in a temporary folder, reached by a socket in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server; it ends with the value.
pub struct Postgres {
    bin: PathBuf,
    folder: TempDir,
    child: Child,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Postgres {
    /// Starts it; `None`, with a line that says why, where it is not installed. In CI that fails.
    pub fn start() -> Option<Self> {
        let Some(bin) = installed() else {
            assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
            eprintln!("SKIPPED: no PostgreSQL (POSTGRES_BIN): run tests/services/install.sh");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let user = is_root().then_some("postgres");
        if user.is_some() {
            // The server does not run as root: the folder is its user's.
            let chown = Command::new("chown").args(["-R", "postgres"]).arg(folder.path()).status();
            assert!(chown.expect("runs").success());
        }
        let made = command(&bin, "initdb", user)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("runs").success(), "initdb");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = command(&bin, "postgres", user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=UTC", "-c", "jit=off"])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let server = Self { bin, folder, child };
        let started = Instant::now();
        while !server.psql().args(["-c", "SELECT 1"]).output().expect("runs").status.success() {
            assert!(started.elapsed() < Duration::from_secs(60), "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        command.arg(self.folder.path()).arg("postgres");
        command
    }

    /// Runs a script and gives the lines that it prints.
    pub fn run(&self, script: &str) -> Vec<String> {
        let mut child = self
            .psql()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut input = child.stdin.take().expect("piped");
        let script = script.to_owned();
        let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
        let output = child.wait_with_output().expect("runs");
        writer.join().expect("no panic").expect("written");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn command(bin: &Path, program: &str, user: Option<&str>) -> Command {
    match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(bin.join(program));
            command
        }
        None => Command::new(bin.join(program)),
    }
}

/// Where `POSTGRES_BIN` says, or where Debian puts it.
fn installed() -> Option<PathBuf> {
    let given = std::env::var_os("POSTGRES_BIN").map(PathBuf::from);
    let known = given.unwrap_or_else(|| PathBuf::from("/usr/lib/postgresql/15/bin"));
    known.join("initdb").exists().then_some(known)
}

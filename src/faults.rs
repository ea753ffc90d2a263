//! Named points at which a test lets the engine fail or die.
//!
//! Case files (`crash after-sink`) and the crash tests use them. A process arms one from the variable
//! `ECOMM_BATCH_FAULT`: point, how many times it is passed first, and what happens then
//! (`checkpoint-file 17 kill`). Unarmed, a point costs one look at a flag.

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// The variable that arms a fault of a process.
pub const VARIABLE: &str = "ECOMM_BATCH_FAULT";

/// Where a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// A batch is planned, nothing is written.
    BeforeOffsets,
    /// The intent is durable.
    AfterOffsets,
    /// The records are here.
    AfterRead,
    /// The sinks have everything.
    AfterSink,
    /// The state files are written.
    AfterState,
    /// Only the outcome is missing.
    BeforeCommit,
    /// The outcome is durable.
    AfterCommit,
    /// Before each operation on a checkpoint file: make, write, sync, publish, remove, list, read.
    CheckpointFile,
    /// Before each MongoDB command, and again once its reply is there.
    MongoDbCommand,
}

impl FailPoint {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BeforeOffsets,
        Self::AfterOffsets,
        Self::AfterRead,
        Self::AfterSink,
        Self::AfterState,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::CheckpointFile,
        Self::MongoDbCommand,
    ];

    /// As case files and the variable write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeOffsets => "before-offsets",
            Self::AfterOffsets => "after-offsets",
            Self::AfterRead => "after-read",
            Self::AfterSink => "after-sink",
            Self::AfterState => "after-state",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::CheckpointFile => "checkpoint-file",
            Self::MongoDbCommand => "mongodb-command",
        }
    }
}

impl FromStr for FailPoint {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|point| point.name() == name)
            .ok_or_else(|| format!("there is no crash point \"{name}\""))
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The step fails with an error that stops the engine.
    Error,
    /// SIGKILL: the process ends as by power loss, with nothing flushed or said.
    Kill,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    point: FailPoint,
    /// How many times the point is passed before it strikes.
    skip: u64,
    action: Action,
}

/// The fault that is armed, if any; shared by everything that has points.
#[derive(Debug, Default)]
pub struct Faults {
    is_armed: AtomicBool,
    armed: Mutex<Option<Armed>>,
}

impl Faults {
    /// Those of this process, by [`VARIABLE`].
    ///
    /// # Errors
    /// As [`Faults::parse`].
    pub fn of_process() -> Result<Self> {
        std::env::var(VARIABLE).map_or_else(|_| Ok(Self::default()), |text| Self::parse(&text))
    }

    /// From a text such as `checkpoint-file 17 kill`.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config): it says something else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            let names: Vec<&str> = FailPoint::ALL.map(FailPoint::name).to_vec();
            Error::config(format!("{VARIABLE}=\"{text}\" is not POINT SKIP error|kill"))
                .advise(format!("points: {}", names.join(", ")))
        };
        let [point, skip, action] = text.split(' ').collect::<Vec<_>>().try_into().map_err(|_| bad())?;
        let faults = Self::default();
        let action = match action {
            "error" => Action::Error,
            "kill" => Action::Kill,
            _ => return Err(bad()),
        };
        faults.arm(point.parse().map_err(|_| bad())?, skip.parse().map_err(|_| bad())?, action);
        Ok(faults)
    }

    /// `action` strikes once, after the point was passed `skip` times; replaces what was armed.
    pub fn arm(&self, point: FailPoint, skip: u64, action: Action) {
        *self.lock() = Some(Armed { point, skip, action });
        self.is_armed.store(true, Ordering::Release);
    }

    /// Nothing strikes any more; whether something still was to.
    pub fn disarm(&self) -> bool {
        self.is_armed.store(false, Ordering::Release);
        self.lock().take().is_some()
    }

    /// Passes a point.
    ///
    /// # Errors
    /// The armed one.
    pub fn pass(&self, point: FailPoint) -> Result<()> {
        if !self.is_armed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut armed = self.lock();
        match armed.as_mut() {
            Some(fault) if fault.point == point && fault.skip > 0 => {
                fault.skip -= 1;
                Ok(())
            }
            Some(fault) if fault.point == point => {
                let action = fault.action;
                *armed = None;
                match action {
                    Action::Error => {
                        Err(Error::internal(format!("stopped at the fail point {}", point.name())))
                    }
                    Action::Kill => die(),
                }
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Armed>> {
        self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn die() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    let sent = kill_process(getpid(), Signal::KILL);
    tracing::error!("could not kill this process: {sent:?}");
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_strikes_once_after_it_was_passed() {
        let faults = Faults::parse("checkpoint-file 2 error").expect("armed");
        for (point, strikes) in [
            (FailPoint::CheckpointFile, false),
            (FailPoint::MongoDbCommand, false),
            (FailPoint::CheckpointFile, false),
            (FailPoint::CheckpointFile, true),
            (FailPoint::CheckpointFile, false),
        ] {
            assert_eq!(faults.pass(point).is_err(), strikes);
        }
        for text in ["", "checkpoint-file", "nowhere 1 kill", "checkpoint-file x kill", "after-sink 1 sleep"]
        {
            assert!(Faults::parse(text).is_err(), "{text}");
        }
    }
}

//! Waiting for a service that is away.

use std::time::Duration;

use tokio::sync::watch;

use crate::duration;
use crate::error::{Error, ErrorKind, Result};
use crate::now::{NowCell, Service};

/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long to wait: until a person asks the engine to stop. Who looks sees what is waited for.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Turns true once.
    pub stop: watch::Receiver<bool>,
    /// Where the wait is seen.
    pub now: NowCell,
}

impl From<watch::Receiver<bool>> for Patience {
    /// Nobody looks.
    fn from(stop: watch::Receiver<bool>) -> Self {
        Self { stop, now: NowCell::default() }
    }
}

impl Patience {
    /// Whether a stop is asked for.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Tries until it works, a person stops the engine, or the error is one that waiting won't mend.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) once a stop is asked for; any other error of `attempt` at once.
    pub async fn retry<T, F: Future<Output = Result<T>>>(
        &self,
        service: Service,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!("{error}; trying again in {}", duration::format(pause));
                    self.now.wait_for(service, error.headline());
                    let mut stop = self.stop.clone();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stop.wait_for(|stop| *stop) => {
                            return Err(Error::unavailable(format!("stopped while waiting for the {}", service.name())));
                        }
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => {
                    self.now.answered(service);
                    return other;
                }
            }
        }
    }
}

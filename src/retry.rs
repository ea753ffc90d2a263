//! Waiting for a service that is away.

use std::time::Duration;

use tokio::sync::watch;

use crate::duration;
use crate::error::{Error, ErrorKind, Result};

/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Tries until it works, a person stops the engine, or the error is one that waiting won't mend.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) once `stop` says so; any other error of `attempt` at once.
pub async fn retry<T, F: Future<Output = Result<T>>>(
    what: &str,
    stop: &watch::Receiver<bool>,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!("{error}; trying again in {}", duration::format(pause));
                let mut stop = stop.clone();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stop.wait_for(|stop| *stop) => {
                        return Err(Error::unavailable(format!("stopped while waiting for {what}")));
                    }
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

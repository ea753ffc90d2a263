//! SIGTERM and SIGINT: a command is asked to finish what it has begun.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};

/// Turns true at the first SIGTERM or SIGINT; a second SIGINT ends the process at once, with exit code 130.
///
/// Neither ends the process by itself once this has returned. `what` says what is finished first, for the log.
///
/// # Errors
/// [`Internal`](crate::error::ErrorKind::Internal): the system has no signal to give.
pub fn asked_to_stop(what: impl Fn() -> String + Send + 'static) -> Result<watch::Receiver<bool>> {
    let catch = |kind| {
        signal(kind).map_err(|source| Error::internal("SIGTERM and SIGINT can't be caught").because(source))
    };
    let (mut interrupt, mut terminate) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: {} is finished first", what());
        stop.send_replace(true);
        interrupt.recv().await;
        std::process::exit(130);
    });
    Ok(stopped)
}

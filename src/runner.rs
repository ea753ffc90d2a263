//! Where the tasks of a batch run: on the cores of this machine.
//!
//! Tasks are plain futures that own what they need. They have a runtime of their own, with a thread for each core:
//! computation never holds up the network, the console and metrics, and as few threads allocate as can be, since the
//! allocator keeps freed memory by thread (on two cores a job of 100,000 offsets a batch peaked at 579 MB on threads
//! of the blocking pool). No exchange operator of DataFusion stands between the tasks: what they exchange is in memory.

use std::sync::OnceLock;

use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Result};

/// The threads of a process that compute; they end with it.
static COMPUTE: OnceLock<Runtime> = OnceLock::new();

/// Runs tasks side by side, as many at a time as there are cores.
#[derive(Clone, Debug)]
pub struct LocalRunner {
    threads: Handle,
    cores: usize,
}

impl LocalRunner {
    /// Of this machine.
    ///
    /// # Errors
    /// [`Internal`](crate::error::ErrorKind::Internal): the system gives no threads.
    pub fn of_this_machine() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if COMPUTE.get().is_none() {
            let made = Builder::new_multi_thread().worker_threads(cores).thread_name("compute").build();
            let made = made.map_err(|source| Error::internal("no threads to compute on").because(source))?;
            if let Err(second) = COMPUTE.set(made) {
                // Another engine of the process was faster; waiting for idle threads is not for a task.
                second.shutdown_background();
            }
        }
        let threads = COMPUTE.get().ok_or_else(|| Error::internal("no threads to compute on"))?;
        Ok(Self { threads: threads.handle().clone(), cores })
    }

    /// How many tasks run at a time.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// The results of `tasks`, in their order, once all are done.
    ///
    /// # Errors
    /// The first error of a task; the others may still be running then, and their results are dropped.
    pub async fn run<T, F>(&self, tasks: Vec<F>) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        futures::stream::iter(tasks)
            .map(|task| self.threads.spawn(task))
            .buffered(self.cores)
            .map(|done| {
                done.map_err(|source| Error::internal("a task of the batch panicked").because(source))?
            })
            .try_collect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn runner(cores: usize) -> LocalRunner {
        LocalRunner { cores, ..LocalRunner::of_this_machine().expect("threads") }
    }

    #[tokio::test]
    async fn results_come_in_the_order_of_the_tasks_and_no_more_run_than_there_are_cores() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = |number: usize| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..10 - number {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            }
        };
        let results = runner(2).run((0..10).map(task).collect()).await.expect("runs");
        assert_eq!(results, (0..10).collect::<Vec<_>>());
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn an_error_and_a_panic_of_a_task_are_errors_of_the_batch() {
        let task = |number: usize| async move {
            match number {
                1 => Err(Error::internal("no")),
                2 => panic!("a bug"),
                _ => Ok(number),
            }
        };
        let runner = runner(1);
        assert!(runner.run(vec![task(0), task(1)]).await.expect_err("fails").to_string().contains("no"));
        assert!(runner.run(vec![task(2)]).await.expect_err("fails").to_string().contains("panicked"));
    }
}

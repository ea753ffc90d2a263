//! Where the tasks of a batch run: on the cores of this machine.
//!
//! Tasks are plain futures that own what they need, handed to threads for computation; no exchange operator stands
//! between them, since what they exchange is in memory already. The threads of the runtime stay free for the
//! network, the console and metrics.

use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};

/// Runs tasks side by side, as many at a time as there are cores.
#[derive(Clone, Copy, Debug)]
pub struct LocalRunner {
    cores: usize,
}

impl LocalRunner {
    /// Of a machine with so many cores.
    pub fn new(cores: usize) -> Self {
        Self { cores: cores.max(1) }
    }

    /// Of this machine.
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
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
        let start = |task: F| {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(task))
        };
        futures::stream::iter(tasks)
            .map(start)
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
        let results = LocalRunner::new(2).run((0..10).map(task).collect()).await.expect("runs");
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
        let runner = LocalRunner::new(1);
        assert!(runner.run(vec![task(0), task(1)]).await.expect_err("fails").to_string().contains("no"));
        assert!(runner.run(vec![task(2)]).await.expect_err("fails").to_string().contains("panicked"));
    }
}

//! What a batch computes, one stage after the other; each takes values and gives a value.
//!
//! ```text
//!  read units           per source             key groups                     one batch
//!
//!  orders-0 ─ admit ─┐                     ┌─► group 0: join, verdict ─┐
//!  orders-1 ─ admit ─┴─ repeats ─┐         │                          │
//!                                ├ exchange┼─► group 1: join, verdict ─┼─ merge ─ delivery ─ outputs
//!  payments-0 ─ admit ─ repeats ─┘         │                          │
//!          │                               └─► group K−1              ─┘
//!          └─ dead letters, clocks ─ watermark
//! ```
//!
//! What stands below each other runs side by side ([`runner`](crate::runner)). `outcome` calls the stages in turn
//! and gives their result as one value. No stage knows the engine or the checkpoint's log; state changes once the
//! sinks have the rows.
//!
//! # A batch with numbers
//!
//! Watermark 12:00, delay 10 minutes, a payment may come 5 minutes before to 10 minutes after its order; order A of
//! 11:52 waits in state. The batch, at 12:20 with K = 2, reads orders-0: B of 12:06, and B again; payments-0: P for A
//! of 11:59, Q for A of 12:01, R for B of 12:12.
//!
//! 1. *admit*, each partition alone: P lies below the watermark and is a dead letter `late`. The clocks of the
//!    partitions stand at 12:06 and 12:12.
//! 2. *repeats*, each source in arrival order: the second B is a dead letter `duplicate`.
//! 3. *watermark*: the slower source is at 12:06, minus the delay 11:56; it never goes back, so it stays at 12:00.
//! 4. *exchange*: say the key of A hashes into bucket 31 and that of B into 200. 31 · 2 / 256 = 0 and
//!    200 · 2 / 256 = 1, so group 0 gets Q and group 1 gets B and R. A is found where it waits.
//! 5. *join*, each group alone: Q is 9 minutes after A and R is 6 minutes after B: two pairs, and A, B, Q, R have
//!    joined. Nothing waits beyond its reach (A could be met until the watermark is past 11:52 + 10 = 12:02).
//! 6. *verdict*: the rules judge both pairs; a wrong amount is `_violations`, and no dead letter.
//! 7. *merge*: new records stand before those of state, so the pair of B comes before that of A: for any K.
//! 8. *delivery*: rows to the outputs over the view, then P and the second B to those over dead letters.
//!
//! Five records, five fates: three have joined, one is late, one a duplicate. A, of an earlier batch, has joined too.

pub mod admission;
pub(crate) mod before;
pub(crate) mod delivery;
pub mod exchange;
pub(crate) mod group;
pub mod joining;
pub mod letter;
pub(crate) mod merge;
pub(crate) mod outcome;
pub mod verdict;

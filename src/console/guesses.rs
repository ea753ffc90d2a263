//! Slows the guessing of passwords, by address and by user: five wrong ones are free, then one every ten seconds.
//!
//! A user's wrong passwords slow only addresses that have wrong ones themselves, and nobody who is logged in: whoever
//! guesses elsewhere does not lock the owner out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords that cost nothing.
const FREE: u32 = 5;

/// What each further one costs.
const PAUSE: Duration = Duration::from_secs(10);

/// Addresses and users that are remembered.
const MAX_KEYS: usize = 4_096;

/// Wrong passwords of late. As in the generic cell rate algorithm, a key has one time: each wrong password moves it
/// by a pause, and it may lie five pauses ahead.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<String, Instant>>);

impl Guesses {
    /// For how long `key` has to wait; nothing if it may try.
    pub(super) fn wait(&self, key: &str, now: Instant) -> Option<Duration> {
        let paid = *self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key)?;
        paid.checked_duration_since(now + PAUSE * (FREE - 1)).filter(|wait| !wait.is_zero())
    }

    /// Whether `key` has wrong passwords to pay for.
    pub(super) fn has(&self, key: &str, now: Instant) -> bool {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).is_some_and(|paid| *paid > now)
    }

    /// A wrong password.
    pub(super) fn wrong(&self, key: &str, now: Instant) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.retain(|_, paid| *paid > now);
        }
        // More keys than that are under attack at once: the oldest debts go first.
        if keys.len() >= MAX_KEYS
            && let Some(least) = keys.iter().min_by_key(|(_, paid)| **paid).map(|(key, _)| key.clone())
        {
            keys.remove(&least);
        }
        let paid = keys.entry(key.to_owned()).or_insert(now);
        *paid = (*paid).max(now) + PAUSE;
    }

    /// A right password.
    pub(super) fn right(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_are_free_then_one_every_ten_seconds() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(guesses.wait("ada", start), None);
            guesses.wrong("ada", start);
        }
        assert_eq!(guesses.wait("ada", start), Some(PAUSE));
        assert_eq!(guesses.wait("bob", start), None);
        let later = start + PAUSE;
        assert_eq!(guesses.wait("ada", later), None);
        guesses.wrong("ada", later);
        assert_eq!(guesses.wait("ada", later), Some(PAUSE));
        guesses.right("ada");
        assert_eq!(guesses.wait("ada", later), None);
    }

    #[test]
    fn a_thousand_keys_are_bounded() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..2 * MAX_KEYS {
            guesses.wrong(&number.to_string(), start);
        }
        assert!(guesses.0.lock().expect("free").len() <= MAX_KEYS);
    }
}

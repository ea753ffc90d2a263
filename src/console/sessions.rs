//! Who is logged in. Kept in memory: a restart logs everybody out.
//!
//! A session's id is 128 random bits, known to the browser alone: here lies its SHA-256.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::console::users::User;
use crate::query::folder::hex;

/// Without a page for so long a session ends; pages that refresh themselves don't count.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// It ends after this in any case.
const AT_MOST: Duration = Duration::from_secs(12 * 3600);

/// Sessions at once; the one that was idle for longest goes first.
const MAX_SESSIONS: usize = 64;

/// 128 random bits as hexadecimal text.
pub(super) fn random_token() -> String {
    hex(&rand::rng().random::<[u8; 16]>())
}

/// What is kept of a secret, to know it again.
pub(super) fn fingerprint(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[derive(Clone, Debug)]
struct Session {
    user: User,
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.began) >= AT_MOST
    }
}

/// All sessions of a console.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs `user` in; the id for the cookie.
    pub(super) fn begin(&self, user: User, now: Instant) -> String {
        let mut sessions = self.lock();
        sessions.retain(|_, session| !session.is_over(now));
        if sessions.len() >= MAX_SESSIONS
            && let Some(idle) = sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id)
        {
            sessions.remove(&idle);
        }
        let id = random_token();
        sessions.insert(fingerprint(&id), Session { user, began: now, used: now });
        id
    }

    /// Whose session `id` is. `is_used`: by a person, not by a page that refreshes itself.
    pub(super) fn find(&self, id: &str, is_used: bool, now: Instant) -> Option<User> {
        let mut sessions = self.lock();
        let key = fingerprint(id);
        let session = sessions.get_mut(&key)?;
        if session.is_over(now) {
            sessions.remove(&key);
            return None;
        }
        if is_used {
            session.used = now;
        }
        Some(session.user.clone())
    }

    /// Logs out.
    pub(super) fn end(&self, id: &str) {
        self.lock().remove(&fingerprint(id));
    }

    /// Whether `name` is logged in.
    pub(super) fn has(&self, name: &str, now: Instant) -> bool {
        self.lock().values().any(|session| session.user.name == name && !session.is_over(now))
    }

    /// Ends the sessions of users that are no more, or are others by now.
    pub(super) fn keep(&self, is_known: impl Fn(&User) -> bool) {
        self.lock().retain(|_, session| is_known(&session.user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::users::Role;

    fn user(name: &str) -> User {
        User { name: name.to_owned(), role: Role::Read, login: [0; 32] }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old_or_logged_out() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let minutes = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let id = sessions.begin(user("ada"), start);
        assert_eq!(id.len(), 32);
        assert_eq!(sessions.find(&id, true, minutes(29)).expect("there").name, "ada");
        // A page that refreshes itself does not keep it alive.
        assert!(sessions.find(&id, false, minutes(58)).is_some());
        assert!(sessions.find(&id, true, minutes(59)).is_none());
        assert!(sessions.find(&id, true, minutes(1)).is_none(), "it is gone for good");

        let id = sessions.begin(user("ada"), start);
        for at in (20..720).step_by(20) {
            assert!(sessions.find(&id, true, minutes(at)).is_some(), "{at}");
        }
        assert!(sessions.find(&id, true, minutes(720)).is_none());

        let id = sessions.begin(user("ada"), start);
        sessions.end(&id);
        assert!(sessions.find(&id, true, start).is_none());
        assert!(sessions.find("", true, start).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_end_with_their_user() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let first = sessions.begin(user("first"), start);
        for number in 0..MAX_SESSIONS as u64 {
            sessions.begin(user("other"), start + Duration::from_secs(1 + number));
        }
        let later = start + Duration::from_secs(100);
        assert!(sessions.find(&first, true, later).is_none());
        assert!(sessions.has("other", later) && !sessions.has("first", later));
        sessions.keep(|user| user.name != "other");
        assert!(!sessions.has("other", later));
    }
}

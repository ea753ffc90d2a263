//! Who may log in, and by which secret.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::sessions::{fingerprint, random_token};
use crate::error::{Error, Result};

/// For how long a one-time link is good.
const LINK_LIFE: Duration = Duration::from_secs(15 * 60);

/// Passwords that everybody knows: refused wherever a person sets one.
const KNOWN: [&str; 20] = [
    "password",
    "admin",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "qwerty",
    "letmein",
    "welcome",
    "secret",
    "changeme",
    "password1",
    "passw0rd",
    "root",
    "test",
    "guest",
    "default",
    "abc123",
    "iloveyou",
    "ecomm-batch",
];

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look at everything.
    Read,
    /// Create topics too.
    Full,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => Some(Self::Read),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// What may be done.
    pub role: Role,
    /// A fingerprint of what was logged in with: another password ends the session.
    pub(super) login: [u8; 32],
}

/// Where users come from.
#[derive(Clone, Debug)]
pub enum UsersFrom {
    /// Lines `name:read|full:$argon2id$…`; read again when the file changes.
    File(PathBuf),
    /// `admin` with this hash.
    Hash(String),
    /// `admin` with the password `password`, for a laptop.
    Development,
    /// `admin` by a one-time link.
    Link,
}

/// The users of a console.
#[derive(Debug)]
pub(super) struct Users {
    from: UsersFrom,
    known: Mutex<Known>,
    link: Mutex<Option<Link>>,
    verifier: Verifier,
}

#[derive(Debug, Default)]
struct Known {
    users: Vec<(String, Role, String)>,
    changed: Option<SystemTime>,
}

#[derive(Debug)]
struct Link {
    token: [u8; 32],
    made: Instant,
}

impl Users {
    /// Reads them.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config): a file that can't be read, a line that is none.
    pub(super) fn new(from: UsersFrom) -> Result<Self> {
        let known = match &from {
            UsersFrom::File(path) => {
                let users = read(path)?;
                Known { users, changed: changed(path) }
            }
            UsersFrom::Hash(hash) => {
                check_hash(hash, "ECOMM_BATCH_CONSOLE_PASSWORD_HASH")?;
                Known { users: vec![("admin".to_owned(), Role::Full, hash.clone())], changed: None }
            }
            UsersFrom::Development => {
                Known { users: vec![("admin".to_owned(), Role::Full, hash("password")?)], changed: None }
            }
            UsersFrom::Link => Known::default(),
        };
        Ok(Self { from, known: Mutex::new(known), link: Mutex::default(), verifier: Verifier::start()? })
    }

    /// Whether it is the login of a laptop.
    pub(super) fn is_development(&self) -> bool {
        matches!(self.from, UsersFrom::Development)
    }

    /// Whether users log in by a link.
    pub(super) fn is_by_link(&self) -> bool {
        matches!(self.from, UsersFrom::Link)
    }

    /// Whether a user of that kind may still log in; `false` once the file has changed under it.
    pub(super) fn knows(&self, user: &User) -> bool {
        match self.from {
            UsersFrom::Link => true,
            _ => self.lock().users.iter().any(|(name, role, hash)| {
                *name == user.name && *role == user.role && fingerprint(hash) == user.login
            }),
        }
    }

    /// Reads the file again if it has changed; whether it has.
    pub(super) fn refresh(&self) -> bool {
        let UsersFrom::File(path) = &self.from else { return false };
        let changed = changed(path);
        if changed == self.lock().changed {
            return false;
        }
        // A file that can't be read lets nobody in: whoever removed it meant that.
        let users = read(path).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Vec::new()
        });
        *self.lock() = Known { users, changed };
        true
    }

    /// The user of this name and password.
    pub(super) async fn check(&self, name: &str, password: &str) -> Option<User> {
        let found = self.lock().users.iter().find(|(known, ..)| known == name).cloned();
        let hash = found.as_ref().map(|(.., hash)| hash.clone());
        let is_right = self.verifier.verify(password.to_owned(), hash).await;
        let (name, role, hash) = found.filter(|_| is_right)?;
        if is_known_by_everybody(password) && !self.is_development() {
            tracing::warn!(
                "console: {name:?} has a password that everybody tries first, and is not let in: \
                 `ecomm-batch console hash-password` makes the hash of another"
            );
            return None;
        }
        Some(User { name, role, login: fingerprint(&hash) })
    }

    /// A new one-time link's secret; the one before is worth nothing any more.
    pub(super) fn new_link(&self, now: Instant) -> String {
        let token = random_token();
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Link { token: fingerprint(&token), made: now });
        token
    }

    /// Logs in by a link, once.
    pub(super) fn use_link(&self, token: &str, now: Instant) -> Option<User> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let found = link.as_ref().filter(|link| now.duration_since(link.made) < LINK_LIFE)?;
        if !bool::from(found.token.ct_eq(&fingerprint(token))) {
            return None;
        }
        *link = None;
        Some(User { name: "admin".to_owned(), role: Role::Full, login: fingerprint(token) })
    }

    /// Whether the link has been used, or will soon be too old.
    pub(super) fn needs_link(&self, now: Instant) -> bool {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.as_ref().is_none_or(|link| now.duration_since(link.made) > LINK_LIFE * 2 / 3)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash for a users file, of a password that not everybody knows.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): it is too short or among the best-known ones.
pub fn hash_password(password: &str) -> Result<String> {
    if password.chars().count() < 8 || is_known_by_everybody(password) {
        return Err(
            Error::config("this password is too easy to guess").advise("take eight characters or more")
        );
    }
    hash(password)
}

fn is_known_by_everybody(password: &str) -> bool {
    KNOWN.contains(&password.to_lowercase().as_str())
}

fn hash(password: &str) -> Result<String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::internal("the password could not be hashed").because(error.to_string()))
}

/// Compares passwords with hashes, on a thread of its own: a hash takes 20 MB and a core for a moment, so there is one
/// at a time, and always in the same memory (an allocator keeps some for each thread).
#[derive(Debug)]
struct Verifier(mpsc::Sender<Comparison>);

struct Comparison {
    password: String,
    /// Of a name that somebody has.
    hash: Option<String>,
    answer: oneshot::Sender<bool>,
}

impl Verifier {
    fn start() -> Result<Self> {
        let (ask, asked) = mpsc::channel::<Comparison>();
        let work = move || {
            // For names that nobody has, so that they take as long. Made here: a start does not wait for it.
            let dummy = hash(&random_token()).unwrap_or_default();
            for Comparison { password, hash, answer } in asked {
                let is_right = verify(&password, hash.as_ref().unwrap_or(&dummy)) && hash.is_some();
                // Whoever asked may have gone.
                let _ = answer.send(is_right);
            }
        };
        std::thread::Builder::new()
            .name("console-login".to_owned())
            .spawn(work)
            .map_err(|source| Error::internal("the console could not be started").because(source))?;
        Ok(Self(ask))
    }

    async fn verify(&self, password: String, hash: Option<String>) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(Comparison { password, hash, answer }).is_ok() && answered.await.unwrap_or(false)
    }
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn check_hash(hash: &str, place: &str) -> Result<()> {
    let is_argon2id = hash.starts_with("$argon2id$") && PasswordHash::new(hash).is_ok();
    if !is_argon2id {
        return Err(Error::config(format!("{place} is not an argon2id hash"))
            .advise("`ecomm-batch console hash-password` reads a password and prints one"));
    }
    Ok(())
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<Vec<(String, Role, String)>> {
    let text = crate::secret::read_secret(path)?;
    let mut users: Vec<(String, Role, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may hold a password by mistake: only its number is named.
        let place = format!("line {number} of \"{}\"", path.display());
        let mut parts = line.trim().splitn(3, ':');
        let (name, role, hash) = (parts.next(), parts.next().and_then(Role::parse), parts.next());
        let (Some(name), Some(role), Some(hash)) = (name.filter(|name| !name.is_empty()), role, hash) else {
            return Err(Error::config(format!("{place} is not name:read|full:hash")));
        };
        check_hash(hash, &format!("the hash in {place}"))?;
        if users.iter().any(|(other, ..)| other == name) {
            return Err(Error::config(format!("{place} names a user for the second time")));
        }
        users.push((name.to_owned(), role, hash.to_owned()));
    }
    if users.is_empty() {
        return Err(Error::config(format!("\"{}\" names no user", path.display())));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_come_from_a_file_and_change_with_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str, seconds: u64| {
            std::fs::write(file.path(), text).expect("written");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + seconds);
            file.as_file().set_modified(time).expect("dated");
        };
        let (ada, bob) =
            (hash_password("correct horse").expect("a hash"), hash("battery staple").expect("a hash"));
        write(&format!("# the team\nada:full:{ada}\n\nbob:read:{bob}\n"), 1);
        let users = Users::new(UsersFrom::File(file.path().to_owned())).expect("reads");
        let ada = users.check("ada", "correct horse").await.expect("right");
        assert_eq!((ada.name.as_str(), ada.role), ("ada", Role::Full));
        assert_eq!(users.check("bob", "battery staple").await.expect("right").role, Role::Read);
        for (name, password) in [("ada", "battery staple"), ("ada", ""), ("eve", "correct horse"), ("", "")] {
            assert_eq!(users.check(name, password).await, None, "{name}");
        }
        assert!(users.knows(&ada) && !users.refresh());
        write(&format!("ada:read:{bob}\n"), 2);
        assert!(users.refresh());
        assert!(!users.knows(&ada));
        std::fs::remove_file(file.path()).expect("removed");
        assert!(users.refresh());
        assert_eq!(users.check("ada", "battery staple").await, None);
    }

    #[test]
    fn what_is_no_user_is_refused_without_being_repeated() {
        for (text, problem) in [
            ("ada:full:s3ntinel".to_owned(), "is not an argon2id hash"),
            ("ada:owner:$argon2id$".to_owned(), "is not name:read|full:hash"),
            ("s3ntinel".to_owned(), "is not name:read|full:hash"),
            (String::new(), "names no user"),
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            let error = Users::new(UsersFrom::File(file.path().to_owned())).expect_err("refused").to_string();
            assert!(error.contains(problem) && !error.contains("s3ntinel"), "{error}");
        }
        assert!(hash_password("Password").is_err() && hash_password("short").is_err());
    }

    #[tokio::test]
    async fn a_password_that_everybody_tries_lets_nobody_in() {
        let users = Users::new(UsersFrom::Hash(hash("password").expect("a hash"))).expect("users");
        assert_eq!(users.check("admin", "password").await, None);
        let laptop = Users::new(UsersFrom::Development).expect("users");
        assert!(laptop.check("admin", "password").await.is_some());
    }

    /// A ratio of medians, far from what an answer without a hash would take.
    #[tokio::test]
    async fn a_name_that_nobody_has_takes_as_long_as_a_wrong_password() {
        let users =
            Users::new(UsersFrom::Hash(hash_password("correct horse").expect("a hash"))).expect("users");
        let median = async |name: &str| {
            let mut took = Vec::new();
            for _ in 0..7 {
                let began = Instant::now();
                assert_eq!(users.check(name, "wrong").await, None);
                took.push(began.elapsed());
            }
            took.sort();
            took[3].as_secs_f64()
        };
        let ratio = median("nobody").await / median("admin").await;
        assert!((0.33..3.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_link_is_good_once_and_for_a_quarter_of_an_hour() {
        let users = Users::new(UsersFrom::Link).expect("users");
        let start = Instant::now();
        assert!(users.needs_link(start));
        let token = users.new_link(start);
        assert!(!users.needs_link(start));
        assert_eq!(users.use_link("0123456789abcdef0123456789abcdef", start), None);
        let user = users.use_link(&token, start + Duration::from_secs(800)).expect("good");
        assert_eq!((user.name.as_str(), user.role), ("admin", Role::Full));
        assert_eq!(users.use_link(&token, start), None);
        let token = users.new_link(start);
        let newer = users.new_link(start);
        assert_eq!(users.use_link(&token, start), None);
        assert_eq!(users.use_link(&newer, start + LINK_LIFE), None);
    }
}

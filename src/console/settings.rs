//! What the console's flags mean: where it listens, who may log in, and what does not go together.

use std::net::SocketAddr;

use super::users::UsersFrom;
use crate::cli::{ConsoleArgs, DEFAULT_CONSOLE};
use crate::error::{Error, Result};

/// What has to be written to have the login of a laptop.
const DEVELOPMENT: &str = "yes-this-is-a-laptop";

/// What the console's flags mean.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// Where it listens; `None` for no console.
    pub(super) address: Option<SocketAddr>,
    /// Nobody asked for this address: if it is taken, there is no console.
    pub(super) is_default: bool,
    /// Who may log in.
    pub(super) users: UsersFrom,
    /// The proxy before it.
    pub(super) proxy: Option<String>,
    /// Where metrics are served without login.
    pub(super) metrics: Option<SocketAddr>,
}

impl ConsoleSettings {
    /// No console.
    pub const OFF: Self =
        Self { address: None, is_default: true, users: UsersFrom::Link, proxy: None, metrics: None };

    /// Whether somebody may look: at pages, or at metrics.
    pub fn is_on(&self) -> bool {
        self.address.is_some() || self.metrics.is_some()
    }

    /// From the flags, and from variables that hold secrets.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config): an address that is none; users that are missing where others than
    /// this machine reach the console.
    pub fn new(args: &ConsoleArgs, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if args.console == "off" {
            return Ok(Self { metrics: args.metrics, ..Self::OFF });
        }
        let address: SocketAddr = args.console.replace("localhost", "127.0.0.1").parse().map_err(|_| {
            Error::config(format!("--console \"{}\" is no address", args.console))
                .advise("write 127.0.0.1:9021, [::1]:9021 or off")
        })?;
        let hash = variable("ECOMM_BATCH_CONSOLE_PASSWORD_HASH");
        let development = variable("ECOMM_BATCH_CONSOLE_DEV_LOGIN");
        let users = match (&args.console_users, hash, development.as_deref()) {
            (Some(path), ..) => UsersFrom::File(path.clone()),
            (None, Some(hash), _) => UsersFrom::Hash(hash),
            (None, None, Some(DEVELOPMENT)) => UsersFrom::Development,
            (None, None, Some(_)) => {
                return Err(Error::config("ECOMM_BATCH_CONSOLE_DEV_LOGIN lets everybody in").advise(format!(
                    "set it to {DEVELOPMENT} where only this machine reaches the console, or leave it away"
                )));
            }
            (None, None, None) => UsersFrom::Link,
        };
        let proxy = args.console_behind_proxy.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = proxy.as_ref().filter(|url| !is_origin(url)) {
            return Err(Error::config(format!("--console-behind-proxy \"{url}\" is no address of a proxy"))
                .advise("write https://host"));
        }
        let is_local = address.ip().is_loopback();
        if !is_local && matches!(users, UsersFrom::Link) {
            return Err(Error::config(format!("others than this machine reach the console on {address}, and it has no users"))
                .advise("name them in a file: --console-users FILE; `ecomm-batch console hash-password` makes its hashes"));
        }
        let is_development = matches!(users, UsersFrom::Development);
        if !is_local && proxy.is_none() && !is_development {
            return Err(Error::config(format!("passwords would cross the network in the open to {address}"))
                .advise("let a proxy speak TLS and name it: --console-behind-proxy https://host"));
        }
        Ok(Self {
            address: Some(address),
            is_default: args.console == DEFAULT_CONSOLE,
            users,
            proxy,
            metrics: args.metrics,
        })
    }
}

/// `scheme://authority` and nothing else.
fn is_origin(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn settings(
        console: &str,
        users: bool,
        proxy: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<ConsoleSettings> {
        let args = ConsoleArgs {
            console: console.to_owned(),
            console_users: users.then(|| PathBuf::from("users")),
            console_behind_proxy: proxy.map(str::to_owned),
            metrics: None,
        };
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        ConsoleSettings::new(&args, variable)
    }

    #[test]
    fn who_listens_to_others_has_users_and_tls() {
        let development = [("ECOMM_BATCH_CONSOLE_DEV_LOGIN", DEVELOPMENT)];
        let proxy = Some("https://batch.example");
        for (console, users, proxy, variables, problem) in [
            ("127.0.0.1:9021", false, None, &[][..], ""),
            ("localhost:9021", false, None, &[], ""),
            ("[::1]:0", false, None, &[], ""),
            ("off", false, None, &[], ""),
            ("0.0.0.0:9021", false, None, &[], "it has no users"),
            ("[::]:9021", false, None, &[], "it has no users"),
            ("10.0.0.1:9021", false, proxy, &[], "it has no users"),
            ("0.0.0.0:9021", true, None, &[], "in the open"),
            ("0.0.0.0:9021", true, proxy, &[], ""),
            ("0.0.0.0:9021", true, Some("batch.example"), &[], "is no address of a proxy"),
            ("0.0.0.0:9021", true, Some("https://batch.example/x"), &[], "is no address of a proxy"),
            ("0.0.0.0:9021", false, None, &development, ""),
            ("127.0.0.1:9021", false, None, &[("ECOMM_BATCH_CONSOLE_DEV_LOGIN", "1")], "lets everybody in"),
            ("9021", false, None, &[], "is no address"),
        ] {
            match settings(console, users, proxy, variables) {
                Ok(_) => assert_eq!(problem, "", "{console}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        !problem.is_empty() && text.contains(problem) && text.contains("help:"),
                        "{console}: {text}"
                    );
                }
            }
        }
    }
}

//! The console: pages for people, the same facts as JSON, and what Prometheus scrapes. Built in, and without internet.
//!
//! ```text
//! browser ─ listener ─ guard ─ routes ─┬─ overview, query, rules, outcomes ─ Telemetry (what the engine told)
//!                       │              ├─ topics, messages ─ kafka (clients of its own)
//!                  sessions, users,    ├─ life ─ inspector (asks the engine), documents (MongoDB), kafka
//!                  guesses             └─ checkpoint (its files, read only)
//! ```
//!
//! It has a thread and a runtime of its own: a batch that takes all threads of the engine leaves the pages alone, and
//! a page never takes one of the engine's. Nothing that it keeps grows without bound.

mod api;
mod assets;
mod chart;
mod checkpoint;
pub mod command;
mod documents;
mod flow;
mod guard;
mod guesses;
mod kafka;
mod life;
pub mod link;
mod listener;
mod login;
mod messages;
mod outcomes;
mod overview;
mod page;
mod probes;
mod query;
mod routes;
mod rules;
mod sessions;
pub mod settings;
mod topics;
mod traffic;
pub mod users;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::inspector::Asker;
use crate::live::AboveLine;
use crate::settings::MongoDbUri;
use crate::source::Source;
use crate::source::kafka::{KafkaConfig, KafkaSource};
use crate::telemetry::Telemetry;
use documents::Documents;
use guard::Hosts;
use guesses::Guesses;
use kafka::Browser;
use link::LinkFile;
use sessions::Sessions;
use settings::ConsoleSettings;
use traffic::Traffic;
use users::Users;

/// How often the broker is asked for the ends of the partitions.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the one-time link is looked after.
const LINK_EVERY: Duration = Duration::from_secs(30);

/// How much kinder than the engine the console is to other threads.
const NICE: i32 = 10;

/// What handlers share.
struct App {
    telemetry: Arc<Telemetry>,
    asker: Option<Asker>,
    browser: Browser,
    documents: Option<Documents>,
    users: Users,
    sessions: Sessions,
    guesses: Guesses,
    traffic: Arc<Traffic>,
    hosts: Hosts,
    /// The name of the session's cookie: cookies know no ports.
    cookie: String,
    link: Arc<LinkFile>,
}

impl App {
    /// Makes a new one-time link, where users log in by one.
    fn renew_link(&self) {
        if self.users.is_by_link() {
            self.link.write(&self.users.new_link(Instant::now()));
        }
    }
}

/// Where the console finds things.
pub struct Places {
    /// What is known of the engine.
    pub telemetry: Arc<Telemetry>,
    /// Asks the engine for rows in state.
    pub asker: Option<Asker>,
    /// The cluster.
    pub kafka: KafkaConfig,
    /// The deployment; `None` where outputs are files.
    pub mongodb: Option<MongoDbUri>,
}

/// A console that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Console {
    /// Where it listens.
    pub address: SocketAddr,
    /// Logs in once; `None` where users have passwords.
    pub link: Option<String>,
    _stop: oneshot::Sender<()>,
}

impl Console {
    /// Says where it is. The link goes to a terminal, never into a log.
    pub fn tell(&self) {
        use std::io::{IsTerminal, Write};
        match &self.link {
            Some(link) if std::io::stderr().is_terminal() => {
                // A terminal that is gone needs no link.
                let _ = writeln!(AboveLine, "console: {link}");
            }
            Some(_) => tracing::info!(
                "console: http://{}; `ecomm-batch console link` prints a link that logs in once",
                self.address
            ),
            None => tracing::info!("console: http://{}", self.address),
        }
    }
}

/// Starts the console on a thread of its own. `None` if it is switched off, or if nobody asked for the port that
/// it has by default and another process has it.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): the port is taken, or users and address don't go together.
pub fn start(settings: &ConsoleSettings, places: Places) -> Result<Option<Console>> {
    let Some(address) = settings.address else { return Ok(None) };
    let taken = |source: std::io::Error| {
        Error::config(format!("the console can't listen on {address}")).because(source).advise(
            "another engine may have the port: give one by --console HOST:PORT, or switch the console off by --console off",
        )
    };
    let listener = match std::net::TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(source) if settings.is_default => {
            tracing::warn!("{}", taken(source));
            return Ok(None);
        }
        Err(source) => return Err(taken(source)),
    };
    listener.set_nonblocking(true).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let metrics = settings.metrics.map(std::net::TcpListener::bind).transpose().map_err(|source| {
        Error::config("the metrics can't be served there")
            .because(source)
            .advise("give another --metrics HOST:PORT")
    })?;
    let users = Users::new(settings.users.clone())?;
    let link_file = LinkFile::of(address);
    let link = users.is_by_link().then(|| {
        let token = users.new_link(Instant::now());
        link_file.write(&token);
        link_file.address(&token)
    });
    let hosts = Hosts::new(address, settings.proxy.as_deref());
    let (stop, stopped) = oneshot::channel::<()>();
    let failed = |source: std::io::Error| Error::internal("the console could not be started").because(source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            // On Linux this is for the thread alone.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!("the console's priority stays as it is: {error}");
            }
            let link_file = Arc::new(link_file);
            let file = Arc::clone(&link_file);
            runtime.block_on(async move {
                let console = run(places, users, hosts, address, file, listener, metrics);
                tokio::select! {
                    result = console => if let Err(error) = result { tracing::warn!("the console ended: {error}") },
                    // A sender that is dropped says the same.
                    _ = stopped => {}
                }
            });
            link_file.remove();
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok(Some(Console { address, link, _stop: stop }))
}

async fn run(
    places: Places,
    users: Users,
    hosts: Hosts,
    address: SocketAddr,
    link: Arc<LinkFile>,
    listener: std::net::TcpListener,
    metrics: Option<std::net::TcpListener>,
) -> Result<()> {
    let failed = |source: std::io::Error| Error::internal("the console could not listen").because(source);
    let documents = match &places.mongodb {
        Some(uri) => Some(Documents::connect(&uri.0).await?),
        None => None,
    };
    let topics = places.telemetry.about.program.sources.iter().map(|source| Arc::clone(&source.topic));
    let source = KafkaSource::new(&places.kafka, topics, "ecomm-batch-console")?;
    let app = Arc::new(App {
        telemetry: Arc::clone(&places.telemetry),
        asker: places.asker,
        browser: Browser::new(places.kafka),
        documents,
        users,
        sessions: Sessions::default(),
        guesses: Guesses::default(),
        traffic: Arc::default(),
        hosts,
        cookie: format!("ecomm_batch_{}", address.port()),
        link,
    });
    tokio::spawn(look(Arc::clone(&places.telemetry), source));
    tokio::spawn(look_after_link(Arc::clone(&app)));
    if let Some(metrics) = metrics {
        metrics.set_nonblocking(true).map_err(failed)?;
        let metrics = tokio::net::TcpListener::from_std(metrics).map_err(failed)?;
        tokio::spawn(listener::serve(metrics, routes::metrics_router(Arc::clone(&app))));
    }
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    listener::serve(listener, routes::router(app)).await;
    Ok(())
}

/// Measures the lag, again and again.
async fn look(telemetry: Arc<Telemetry>, source: KafkaSource) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        telemetry.look(source.extents().await);
    }
}

async fn look_after_link(app: Arc<App>) {
    let mut ticks = tokio::time::interval(LINK_EVERY);
    loop {
        ticks.tick().await;
        if app.users.needs_link(Instant::now()) {
            app.renew_link();
        }
    }
}

/// Text as a part of an address.
fn address(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

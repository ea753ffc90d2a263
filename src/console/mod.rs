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
use crate::observe::Telemetry;
use crate::observe::inspector::Asker;
use crate::observe::terminal::AboveLine;
use crate::secret::MongoDbUri;
use crate::source::Source;
use crate::source::kafka::{KafkaConfig, KafkaSource};
use documents::Documents;
use guard::Hosts;
use guesses::Guesses;
use kafka::Browser;
use link::LinkFile;
use sessions::Sessions;
use settings::ConsoleSettings;
use traffic::Traffic;
use users::{Users, UsersFrom};

/// How often the broker is asked for the ends of the partitions.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the one-time link is looked after.
const LINK_EVERY: Duration = Duration::from_secs(30);

/// Threads that wait for the broker or for files, each with memory that the allocator keeps for it.
const MAX_BLOCKING: usize = 4;

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
    /// Where it listens; `None` where only metrics are served.
    pub address: Option<SocketAddr>,
    /// Logs in once; `None` where users have passwords.
    pub link: Option<String>,
    _stop: oneshot::Sender<()>,
}

impl Console {
    /// Says where it is. The link goes to a terminal, never into a log.
    pub fn tell(&self) {
        use std::io::{IsTerminal, Write};
        let Some(address) = self.address else { return };
        match &self.link {
            Some(link) if std::io::stderr().is_terminal() => {
                // A terminal that is gone needs no link.
                let _ = writeln!(AboveLine, "console: {link}");
            }
            Some(_) => tracing::info!(
                "console: http://{address}; `ecomm-batch console link` prints a link that logs in once"
            ),
            None => tracing::info!("console: http://{address}"),
        }
    }
}

/// Starts the console, and the metrics that have an address of their own, on one thread. `None` if neither is asked
/// for; if another process has the port that the console has by default, there is a warning and no console.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): the port is taken, or users and address don't go together.
pub fn start(settings: &ConsoleSettings, places: Places) -> Result<Option<Console>> {
    let listener = listen(settings)?;
    let metrics = settings.metrics.map(bind).transpose().map_err(|source| {
        Error::config("the metrics can't be served there")
            .because(source)
            .advise("give another --metrics HOST:PORT")
    })?;
    let Some((_, address)) = listener.as_ref().or(metrics.as_ref()) else { return Ok(None) };
    let (address, has_pages) = (*address, listener.is_some());
    let users = Users::new(if has_pages { settings.users.clone() } else { UsersFrom::Link })?;
    let link_file = LinkFile::of(address);
    let link = (has_pages && users.is_by_link()).then(|| {
        let token = users.new_link(Instant::now());
        link_file.write(&token);
        link_file.address(&token)
    });
    let hosts = Hosts::new(address, settings.proxy.as_deref());
    let (stop, stopped) = oneshot::channel::<()>();
    let failed = |source: std::io::Error| Error::internal("the console could not be started").because(source);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING)
        .build()
        .map_err(failed)?;
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
                let listeners = [listener, metrics].map(|listener| listener.map(|(listener, _)| listener));
                let console = run(places, users, hosts, address, file, listeners);
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
    Ok(Some(Console { address: has_pages.then_some(address), link, _stop: stop }))
}

fn bind(address: SocketAddr) -> std::io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listen(settings: &ConsoleSettings) -> Result<Option<(std::net::TcpListener, SocketAddr)>> {
    let Some(address) = settings.address else { return Ok(None) };
    match bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => {
            let taken = Error::config(format!("the console can't listen on {address}")).because(source).advise(
                "another engine may have the port: give one by --console HOST:PORT, or switch the console off by --console off",
            );
            if !settings.is_default {
                return Err(taken);
            }
            tracing::warn!("{taken}");
            Ok(None)
        }
    }
}

async fn run(
    places: Places,
    users: Users,
    hosts: Hosts,
    address: SocketAddr,
    link: Arc<LinkFile>,
    [listener, metrics]: [Option<std::net::TcpListener>; 2],
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
    if listener.is_some() {
        tokio::spawn(look_after_link(Arc::clone(&app)));
    }
    let mut serving = tokio::task::JoinSet::new();
    for (listener, router) in
        [(metrics, routes::metrics_router(Arc::clone(&app))), (listener, routes::router(app))]
    {
        if let Some(listener) = listener {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            serving.spawn(listener::serve(listener, router));
        }
    }
    serving.join_all().await;
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

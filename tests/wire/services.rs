//! Starts Kafka and mongod in folders of their own, on free ports, and stops them at the end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bson::doc;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running Kafka and a running MongoDB.
pub struct Services {
    pub brokers: String,
    pub mongodb: String,
    /// Kafka, then mongod.
    processes: Vec<Process>,
    folder: TempDir,
}

/// A server that can be taken away and come back.
pub struct Process {
    command: Command,
    child: Child,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let child = command.spawn().expect("starts");
        Self { command, child }
    }

    /// Killed as by a power cut, and gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// The same command again, after [`Process::kill`].
    pub fn start_again(&mut self) {
        self.child = self.command.spawn().expect("starts");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// A running MongoDB without a replica set that lets nobody in without a password.
pub struct Mongod {
    /// Host and port.
    pub address: String,
    child: Child,
    _folder: TempDir,
}

impl Drop for Mongod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mongod {
    /// Starts it; `None`, with a line that says why, where it is not installed. In CI that fails.
    pub fn start_with_auth() -> Option<Self> {
        let Some(mongod) = installed("MONGOD", "mongod-6.0.5") else {
            assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
            eprintln!("SKIPPED: no mongod (MONGOD): run tests/services/install.sh");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let child = Command::new(mongod)
            .args(["--auth", "--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--dbpath"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mongod starts");
        Some(Self { address: format!("127.0.0.1:{port}"), child, _folder: folder })
    }

    /// Its first user, whom it lets a client on the same host make, and a client of that user.
    pub async fn create_admin(&self, user: &str, password: &str) -> mongodb::Client {
        let uri = format!("mongodb://{}/?directConnection=true", self.address);
        let stranger = mongodb::Client::with_uri_str(&uri).await.expect("a client");
        let command = doc! { "createUser": user, "pwd": password, "roles": ["root"] };
        until("mongod lets an admin be made", async || {
            stranger.database("admin").run_command(command.clone()).await.is_ok()
        })
        .await;
        let mut options = mongodb::options::ClientOptions::parse(&uri).await.expect("a URI");
        let credential = mongodb::options::Credential::builder()
            .username(user.to_owned())
            .password(password.to_owned())
            .source("admin".to_owned())
            .build();
        options.credential = Some(credential);
        mongodb::Client::with_options(options).expect("a client")
    }
}

/// A running S3-compatible server with one bucket, `checkpoints`.
pub struct S3 {
    /// Its URL.
    pub endpoint: String,
    child: Child,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3 {
    /// A bucket that is there.
    pub const BUCKET: &str = "checkpoints";

    /// Starts it; `None`, with a line that says why, where it is not installed. In CI that fails.
    pub async fn start() -> Option<Self> {
        let Some(moto) = installed("MOTO", "moto-5.2.5") else {
            assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
            eprintln!("SKIPPED: no S3 server (MOTO): run tests/services/install.sh");
            return None;
        };
        let port = free_port();
        let child = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env("PYTHONPATH", moto)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        let s3 = Self { endpoint: format!("http://127.0.0.1:{port}"), child };
        until("the S3 server answers and has the bucket", async || {
            let put = "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='PUT'))";
            let url = format!("{}/{}", s3.endpoint, Self::BUCKET);
            let output = Command::new("python3").args(["-c", put, &url]).output();
            output.is_ok_and(|output| output.status.success())
        })
        .await;
        Some(s3)
    }

    /// The variables that lead a process to it.
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]
    }
}

/// A port that leads to a server until this is dropped: then nobody answers there.
pub struct Relay(tokio::task::JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    /// `to` is a host and a port; `from` a port of this machine, which may be used again.
    pub async fn start(from: u16, to: &str) -> Self {
        let to = to.to_owned();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", from)).await.expect("the port is free");
        Self(tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let to = to.clone();
                open.spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        }))
    }
}

/// Where `tests/services/install.sh` puts things, or where the environment says.
pub fn installed(variable: &str, default: &str) -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let path = std::env::var(variable)
        .map_or_else(|_| Path::new(&home).join(".cache/ecomm-batch/services").join(default), PathBuf::from);
    path.exists().then_some(path)
}

/// A port that nobody uses at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Services {
    /// Starts both; `None`, with a line that says why, where they are not installed. In CI that fails.
    pub async fn start() -> Option<Self> {
        let (Some(libs), Some(mongod)) =
            (installed("KAFKA_LIBS", "kafka-3.9.1/libs"), installed("MONGOD", "mongod-6.0.5"))
        else {
            assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
            eprintln!("SKIPPED: no Kafka (KAFKA_LIBS) or mongod (MONGOD): run tests/services/install.sh");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (broker, controller, mongo) = (free_port(), free_port(), free_port());
        let mut services = Self {
            brokers: format!("127.0.0.1:{broker}"),
            mongodb: format!("mongodb://127.0.0.1:{mongo}/?replicaSet=rs0"),
            processes: Vec::new(),
            folder,
        };
        services.start_kafka(&libs, broker, controller);
        services.start_mongod(&mongod, mongo).await;
        services.wait_for_kafka().await;
        Some(services)
    }

    /// Deletes topics, and waits until the broker has forgotten them.
    pub async fn delete_topics(&self, topics: &[&str]) {
        use rdkafka::admin::{AdminClient, AdminOptions};
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        let admin: AdminClient<rdkafka::client::DefaultClientContext> = config.create().expect("a client");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        admin.delete_topics(topics, &options).await.expect("asked");
        let consumer: BaseConsumer = config.create().expect("a client");
        for topic in topics {
            until("the topic is gone", async || {
                let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5));
                metadata.is_ok_and(|metadata| metadata.topics()[0].partitions().is_empty())
            })
            .await;
        }
    }

    /// The broker.
    pub fn kafka(&mut self) -> &mut Process {
        &mut self.processes[0]
    }

    /// The database.
    pub fn mongod(&mut self) -> &mut Process {
        &mut self.processes[1]
    }

    fn log(&self, name: &str) -> Stdio {
        std::fs::File::create(self.folder.path().join(name)).expect("a log").into()
    }

    fn start_kafka(&mut self, libs: &Path, broker: u16, controller: u16) {
        let folder = self.folder.path();
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nauto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n",
            folder.join("kafka").display()
        );
        let config = folder.join("server.properties");
        std::fs::write(&config, properties).expect("written");
        let classpath = format!("{}/*", libs.display());
        let formatted = Command::new("java")
            .args([
                "-cp",
                &classpath,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                "MkU3OEVBNTcwNTJENDM2Qk",
                "-c",
            ])
            .arg(&config)
            .stdout(self.log("kafka-format.out"))
            .stderr(self.log("kafka-format.err"))
            .status()
            .expect("java runs");
        assert!(formatted.success(), "Kafka's storage could not be formatted");
        let mut command = Command::new("java");
        command
            .args(["-Xmx1g", "-cp", &classpath, "kafka.Kafka"])
            .arg(&config)
            .stdout(self.log("kafka.out"))
            .stderr(self.log("kafka.err"));
        self.processes.push(Process::start(command));
    }

    async fn start_mongod(&mut self, mongod: &Path, port: u16) {
        let data = self.folder.path().join("mongodb");
        std::fs::create_dir(&data).expect("a folder");
        let mut command = Command::new(mongod);
        command
            .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--port", &port.to_string()])
            // A transaction of an engine that was killed is in the way until it expires.
            .args(["--setParameter", "transactionLifetimeLimitSeconds=3"])
            .args(["--setParameter", "enableTestCommands=1", "--dbpath"])
            .arg(&data)
            .stdout(self.log("mongod.out"))
            .stderr(self.log("mongod.err"));
        self.processes.push(Process::start(command));
        let direct =
            mongodb::Client::with_uri_str(format!("mongodb://127.0.0.1:{port}/?directConnection=true"))
                .await
                .expect("a client");
        let admin = direct.database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
        until("mongod is a primary", async || {
            let _ = admin
                .run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": [member.clone()] } })
                .await;
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
        })
        .await;
    }

    /// Waits until the broker answers.
    pub async fn wait_for_kafka(&self) {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let consumer: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .expect("a consumer");
        until("Kafka answers", async || consumer.fetch_metadata(None, Duration::from_secs(1)).is_ok()).await;
    }
}

/// Asks until it is so, for a minute at most.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(60), "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends a signal to a process that was not reaped.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signalled");
}

/// Asks a process to stop as soon as it catches SIGTERM: before, it would only die of it.
pub async fn terminate(child: &Child) {
    let catches_sigterm = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        Some(caught >> (Signal::TERM.as_raw() - 1) & 1 == 1)
    };
    until("the process catches SIGTERM", async || catches_sigterm().unwrap_or(false)).await;
    signal(child, Signal::TERM);
}

/// The binary under test, with a clean environment of its own variables.
pub fn ecomm_batch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecomm-batch"));
    for name in [
        "KAFKA_BROKERS",
        "MONGODB_URI",
        "MONGODB_URI_FILE",
        "ORDERS_TOPIC",
        "PAYMENTS_TOPIC",
        "MONGODB_DATABASE",
    ] {
        command.env_remove(name);
    }
    // Many engines run side by side; the tests of the console ask for one.
    command.env("ECOMM_BATCH_CONSOLE", "off");
    command
}

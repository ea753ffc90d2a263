//! What goes wrong is seen: the sentence of the overview, and the alert of a real Prometheus.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ecomm_batch::clock::{Clock, SystemClock, rfc3339_ms};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::http::{ask, log_in};
use super::pipeline::{Pipeline, text};
use super::prometheus::{Prometheus, hurried_rules};
use super::services::{Services, free_port, terminate, until};

/// Pairs a second.
const RATE: u64 = 40;

/// How long a service is away.
const AWAY: Duration = Duration::from_secs(60);

/// What is wrong with what is sent.
#[derive(Debug, Default)]
struct Trouble {
    /// Nothing is sent to payments/2.
    is_silent: AtomicBool,
    /// A producer's clock is two hours ahead.
    is_ahead: AtomicBool,
    /// Half of the payments have another amount.
    is_wrong: AtomicBool,
    /// The end.
    is_over: AtomicBool,
}

/// Sends orders with their payments, evenly, until it is over.
fn send(brokers: &str, name: &str, trouble: &Trouble) {
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let (orders, payments) = (format!("orders-{name}"), format!("payments-{name}"));
    for number in 0.. {
        if trouble.is_over.load(Ordering::Relaxed) {
            break;
        }
        let now = SystemClock.now_ms();
        let at = rfc3339_ms(now);
        let partition = number % 3;
        let order = format!(
            r#"{{"order_id":"o-{number}","order_date":"2026-01-05","created_at":"{at}","customer_id":"c","amount":12.50}}"#
        );
        let cents = if trouble.is_wrong.load(Ordering::Relaxed) && number % 2 == 0 { 49 } else { 50 };
        let ahead = if trouble.is_ahead.load(Ordering::Relaxed) { 7_200_000 } else { 0 };
        let at = rfc3339_ms(now + ahead);
        let payment = format!(
            r#"{{"payment_id":"p-{number}","order_id":"o-{number}","payment_date":"2026-01-05","created_at":"{at}","amount":12.{cents}}}"#
        );
        let of_payment = match trouble.is_silent.load(Ordering::Relaxed) {
            true => partition % 2,
            false => partition,
        };
        for (topic, partition, value) in [(&orders, partition, &order), (&payments, of_payment, &payment)] {
            // A queue that is full for a while empties once the broker is back.
            let _ = producer.send(BaseRecord::<str, str>::to(topic).partition(partition).payload(value));
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1000 / RATE));
    }
    producer.flush(Duration::from_secs(10)).expect("everything is sent");
}

/// Somebody who watches.
struct Watch {
    console: u16,
    cookie: String,
    prometheus: Prometheus,
}

impl Watch {
    /// The findings' sentences, the first that of the state.
    fn sentences(&self) -> Vec<String> {
        let status = ask(self.console, "GET", "/api/status", &[("Cookie", &self.cookie)], "");
        assert_eq!(status.status, 200, "{}", status.body);
        let status: serde_json::Value = serde_json::from_str(&status.body).expect("JSON");
        let findings = status["findings"].as_array().expect("findings").iter();
        findings.map(|finding| finding["sentence"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until a sentence with these words is there and the alert fires; says both, with the seconds since `began`.
    async fn sees(&self, what: &str, began: Instant, words: &[&str], alert: (&str, &str)) {
        let mut seen = None;
        let mut fired = None;
        until_slowly(&format!("{what} is seen, and {} fires", alert.0), async || {
            if seen.is_none() {
                let found = self.sentences();
                let found =
                    found.into_iter().find(|sentence| words.iter().all(|word| sentence.contains(word)));
                seen = found.map(|sentence| (began.elapsed(), sentence));
            }
            if fired.is_none() && self.prometheus.fires(alert.0, alert.1) {
                fired = Some(began.elapsed());
            }
            seen.is_some() && fired.is_some()
        })
        .await;
        if let (Some((after, sentence)), Some(fired)) = (seen, fired) {
            println!(
                "{what}: after {:.1} s \"{sentence}\"; after {:.1} s {}",
                after.as_secs_f64(),
                fired.as_secs_f64(),
                alert.0
            );
        }
    }

    /// Waits until all is well again.
    async fn is_well(&self) {
        until("all is well", async || {
            let first = self.sentences().into_iter().next().unwrap_or_default();
            first.starts_with("Up to date") || first.starts_with("Keeping up")
        })
        .await;
    }
}

/// As [`until`], for what takes minutes.
async fn until_slowly(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(240), "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_seen() {
    let Some(mut services) = Services::start().await else { return };
    let (brokers, name) = (services.brokers.clone(), "seen");
    let (console, metrics) = (free_port(), free_port());
    let Some(prometheus) = Prometheus::start(metrics, &hurried_rules()).await else { return };
    let trouble = Arc::new(Trouble::default());
    let (mut engine, cookie, start) = {
        let pipeline = Pipeline::new(&services, name);
        let created = pipeline.command("topics").arg("create").output().expect("runs");
        assert!(created.status.success(), "{}", text(&created));
        let mut command = pipeline.command("run");
        command
            .args(["--trigger", "1s", "--checkpoint", &pipeline.checkpoint])
            .args([
                "--console",
                &format!("127.0.0.1:{console}"),
                "--metrics",
                &format!("127.0.0.1:{metrics}"),
            ])
            .arg("--console-users")
            .arg(super::console::users(&pipeline))
            .stderr(Stdio::null());
        let engine = command.spawn().expect("starts");
        until("the console answers", async || std::net::TcpStream::connect(("127.0.0.1", console)).is_ok())
            .await;
        (engine, log_in(console, "name=bob&password=battery+staple"), (command, pipeline.folder))
    };
    let sender = {
        let trouble = Arc::clone(&trouble);
        std::thread::spawn(move || send(&brokers, name, &trouble))
    };
    let mut watch = Watch { console, cookie, prometheus };
    watch.is_well().await;

    // Each service is away for a minute.
    let began = Instant::now();
    services.mongod().kill();
    watch
        .sees(
            "MongoDB is away",
            began,
            &["Waiting for MongoDB since"],
            ("WaitingForService", "service=\"sink\""),
        )
        .await;
    tokio::time::sleep(AWAY.saturating_sub(began.elapsed())).await;
    services.mongod().start_again();
    watch.is_well().await;
    let began = Instant::now();
    services.kafka().kill();
    watch
        .sees(
            "Kafka is away",
            began,
            &["Waiting for Kafka since"],
            ("WaitingForService", "service=\"broker\""),
        )
        .await;
    tokio::time::sleep(AWAY.saturating_sub(began.elapsed())).await;
    services.kafka().start_again();
    services.wait_for_kafka().await;
    watch.is_well().await;

    let begin = |flag: &AtomicBool| {
        flag.store(true, Ordering::Relaxed);
        Instant::now()
    };
    let end = |flag: &AtomicBool| flag.store(false, Ordering::Relaxed);
    let began = begin(&trouble.is_wrong);
    let words = ["The rule amount_matches rejects", "before"];
    watch.sees("a rule rejects half", began, &words, ("RejectsRising", "rule=\"amount_matches\"")).await;
    end(&trouble.is_wrong);
    let began = begin(&trouble.is_silent);
    let words = ["payments-seen/2 has brought nothing for"];
    watch.sees("a partition falls silent", began, &words, ("PartitionSilent", "partition=\"2\"")).await;
    end(&trouble.is_silent);
    let began = begin(&trouble.is_ahead);
    let words = ["the clock of a producer is wrong"];
    watch.sees("a clock is ahead", began, &words, ("ClockAhead", "reason=\"future\"")).await;
    end(&trouble.is_ahead);

    // The engine is killed: nobody answers, and the alert comes from outside. A start is at work again.
    let began = Instant::now();
    engine.kill().expect("killed");
    engine.wait().expect("reaped");
    until("the alert fires", async || watch.prometheus.fires("Down", "job=\"ecomm-batch\"")).await;
    println!("the engine is killed: after {:.1} s Down", began.elapsed().as_secs_f64());
    let (mut command, _folder) = start;
    let began = Instant::now();
    let mut engine = command.spawn().expect("starts");
    until("the console answers", async || std::net::TcpStream::connect(("127.0.0.1", console)).is_ok()).await;
    watch.cookie = log_in(console, "name=bob&password=battery+staple");
    watch.is_well().await;
    println!("the engine is back: after {:.1} s \"{}\"", began.elapsed().as_secs_f64(), watch.sentences()[0]);
    until("the alert is over", async || !watch.prometheus.fires("Down", "job=\"ecomm-batch\"")).await;

    trouble.is_over.store(true, Ordering::Relaxed);
    sender.join().expect("sent");
    terminate(&engine).await;
    assert!(engine.wait().expect("reaped").success());
}

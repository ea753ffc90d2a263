//! A real Prometheus beside the engine: what it scrapes, what it would wake somebody for, what a dashboard shows.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::pipeline::{Pipeline, text};
use super::services::{Services, free_port, until};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A Prometheus that scrapes one engine each second; it ends when this is dropped.
pub struct Prometheus {
    address: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether Prometheus is there; in CI it has to be.
fn is_installed() -> bool {
    let is_there = Command::new("promtool").arg("--version").output().is_ok();
    if !is_there {
        assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
        eprintln!("SKIPPED: no Prometheus: run tests/services/install.sh");
    }
    is_there
}

fn promtool(arguments: &[&str]) -> Output {
    Command::new("promtool").args(arguments).current_dir(EXAMPLES).output().expect("promtool runs")
}

/// The alert rules with minutes of three seconds, so that a test sees them fire.
pub fn hurried_rules() -> String {
    let rules = std::fs::read_to_string(Path::new(EXAMPLES).join("prometheus/alerts.yml")).expect("reads");
    let hurry = |text: &str| {
        let (number, unit) = text.split_at(text.len() - 1);
        let minutes = match unit {
            "m" => 1,
            "h" => 60,
            _ => return None,
        };
        Some(format!("{}s", number.parse::<u32>().ok()? * minutes * 3))
    };
    let mut hurried = String::new();
    for line in rules.lines() {
        let line = match line.split_once("for: ") {
            Some((before, duration)) => hurry(duration).map(|duration| format!("{before}for: {duration}")),
            None => None,
        }
        .unwrap_or_else(|| line.to_owned());
        let mut parts = line.split('[');
        hurried.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let range = part.split_once(']').and_then(|(range, rest)| Some((hurry(range)?, rest)));
            match range {
                Some((range, rest)) => hurried.push_str(&format!("[{range}]{rest}")),
                None => hurried.push_str(&format!("[{part}")),
            }
        }
        hurried.push('\n');
    }
    hurried
}

impl Prometheus {
    /// Starts one on a target; `None` where it is not installed.
    pub async fn start(target: u16, rules: &str) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: ecomm-batch\n    static_configs: [{{ targets: ['127.0.0.1:{target}'] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
        std::fs::write(folder.path().join("alerts.yml"), rules).expect("written");
        let port = free_port();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        let prometheus = Self { address: format!("http://127.0.0.1:{port}"), child, _folder: folder };
        until("Prometheus scrapes", async || !prometheus.query("up").is_empty()).await;
        Some(prometheus)
    }

    /// The numbers that an expression has now, one for each series.
    pub fn query(&self, expression: &str) -> Vec<f64> {
        let output = promtool(&["query", "instant", "--format=json", &self.address, expression]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let series = found.as_array().into_iter().flatten();
        let values = series.map(|series| series["value"][1].as_str().and_then(|value| value.parse().ok()));
        values.collect::<Option<_>>().unwrap_or_else(|| panic!("{expression}: {}", text(&output)))
    }

    /// Whether an alert fires, of all its labels one that has these.
    pub fn fires(&self, alert: &str, labels: &str) -> bool {
        !self
            .query(&format!("ALERTS{{alertname=\"EcommBatch{alert}\", alertstate=\"firing\", {labels}}}"))
            .is_empty()
    }
}

#[test]
fn the_alert_rules_do_what_their_tests_say() {
    if !is_installed() {
        return;
    }
    for arguments in [
        &["check", "config", "prometheus/prometheus.yml"][..],
        &["check", "rules", "prometheus/alerts.yml"],
        &["test", "rules", "prometheus/alerts_test.yml"],
    ] {
        let output = promtool(arguments);
        assert!(output.status.success(), "{}", text(&output));
    }
    // Each has a test in which it fires, and two in which it does not.
    let rules = std::fs::read_to_string(format!("{EXAMPLES}/prometheus/alerts.yml")).expect("reads");
    let tests = std::fs::read_to_string(format!("{EXAMPLES}/prometheus/alerts_test.yml")).expect("reads");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "{alert} never fires");
        assert!(tests.contains(&format!("eval_time: 8h, alertname: {alert} }}")), "{alert} is never silent");
    }
}

/// The expressions of the dashboard, with its variables filled in.
fn of_dashboard() -> Vec<String> {
    fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(expression) = value["expr"].as_str() {
            found.push(expression.to_owned());
        }
        let children: Vec<&serde_json::Value> = match value {
            serde_json::Value::Array(items) => items.iter().collect(),
            serde_json::Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        };
        children.into_iter().for_each(|child| collect(child, found));
    }
    let text = std::fs::read(format!("{EXAMPLES}/grafana/ecomm-batch.json")).expect("reads");
    let mut found = Vec::new();
    collect(&serde_json::from_slice(&text).expect("JSON"), &mut found);
    let fill = |text: String| {
        let variables =
            [("$job", "ecomm-batch"), ("$instance", ".*"), ("$topic", ".*"), ("$__rate_interval", "10s")];
        variables.iter().fold(text, |text, (name, value)| text.replace(name, value))
    };
    found.into_iter().map(fill).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_data() {
    let Some(services) = Services::start().await else { return };
    let pipeline = Pipeline::new(&services, "dashboard");
    pipeline.produce(&["--count", "3000", "--late", "0.01", "--malformed", "0.02"]);
    let port = free_port();
    let start = || {
        pipeline
            .command("run")
            .args(["--trigger", "1s", "--max-offsets-per-trigger", "200"])
            .args(["--checkpoint", &pipeline.checkpoint, "--metrics", &format!("127.0.0.1:{port}")])
            .stderr(Stdio::null())
            .spawn()
            .expect("starts")
    };
    let Some(prometheus) = Prometheus::start(port, "groups: []\n").await else { return };
    let mut engine = start();
    until("some batches are scraped", async || {
        prometheus.query("ecomm_batch_batches_total").first().is_some_and(|batches| *batches >= 5.0)
    })
    .await;

    // Counters begin where the checkpoint is: killed and started again, they go on.
    engine.kill().expect("killed");
    engine.wait().expect("reaped");
    let before = prometheus.query("ecomm_batch_input_rows_total");
    let mut engine = start();
    until("the engine is seen again", async || {
        prometheus.query("changes(process_start_time_seconds[1m])") == [1.0]
            && prometheus.query("up") == [1.0]
            && !prometheus.query("ecomm_batch_input_rows_total").is_empty()
    })
    .await;
    let after = prometheus.query("ecomm_batch_input_rows_total");
    assert!(
        after.len() == 2 && after.iter().zip(&before).all(|(after, before)| after >= before),
        "{after:?}"
    );
    let lost = "sum(ecomm_batch_input_rows_total) - sum(ecomm_batch_record_fates_total) - sum(ecomm_batch_state_waiting_rows)";
    assert_eq!(prometheus.query(lost), [0.0]);

    let expressions = of_dashboard();
    assert!(expressions.len() > 30, "{}", expressions.len());
    for expression in &expressions {
        until(&format!("there is data of {expression}"), async || {
            prometheus.query(expression).iter().any(|value| value.is_finite())
        })
        .await;
    }

    let scraped = super::http::ask(port, "GET", "/metrics", &[], "");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    std::io::Write::write_all(&mut check.stdin.take().expect("a pipe"), scraped.body.as_bytes())
        .expect("written");
    let output = check.wait_with_output().expect("ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    super::services::terminate(&engine).await;
    assert!(engine.wait().expect("reaped").success());
}

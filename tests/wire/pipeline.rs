//! A pipeline of the shipped program on topics, collections and a checkpoint of its own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use bson::{Document, doc};

use super::services::{Services, ecomm_batch};

pub struct Pipeline<'a> {
    pub services: &'a Services,
    pub name: &'a str,
    pub folder: tempfile::TempDir,
    pub checkpoint: String,
    pub variables: Vec<(&'static str, &'a str)>,
}

impl<'a> Pipeline<'a> {
    pub fn new(services: &'a Services, name: &'a str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoint = folder.path().join("checkpoint").display().to_string();
        Self { services, name, folder, checkpoint, variables: Vec::new() }
    }

    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = ecomm_batch();
        command
            .arg(subcommand)
            .envs(self.variables.iter().copied())
            .env("KAFKA_BROKERS", &self.services.brokers)
            .env("MONGODB_URI", &self.services.mongodb)
            .env("ORDERS_TOPIC", format!("orders-{}", self.name))
            .env("PAYMENTS_TOPIC", format!("payments-{}", self.name))
            .env("MONGODB_DATABASE", format!("mart_{}", self.name))
            .stdin(Stdio::null());
        command
    }

    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.jsonl")
    }

    pub fn produce(&self, more: &[&str]) {
        let output = self.command("produce").arg("--ledger").arg(self.ledger()).args(more).output();
        let output = output.expect("runs");
        assert!(output.status.success(), "{}", text(&output));
    }

    pub fn run(&self, more: &[&str]) -> Output {
        let mut command = self.command("run");
        command.args(["--trigger", "available-now", "--checkpoint", &self.checkpoint]).args(more);
        command.output().expect("runs")
    }

    #[track_caller]
    pub fn succeeds(&self, more: &[&str]) {
        let output = self.run(more);
        assert!(output.status.success(), "{}", text(&output));
    }

    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str], more: &[&str]) {
        let output = self.run(more);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        for word in words {
            assert!(text(&output).contains(word), "\"{word}\" is not in: {}", text(&output));
        }
    }

    #[track_caller]
    pub fn reconciles(&self) {
        let mut command = self.command("reconcile");
        command.arg("--exact").arg("--ledger").arg(self.ledger()).args(["--checkpoint", &self.checkpoint]);
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{}", text(&output));
    }

    pub async fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.services.mongodb).await.expect("a client");
        client.database(&format!("mart_{}", self.name)).collection(name)
    }

    pub async fn count(&self, collection: &str) -> u64 {
        self.collection(collection).await.count_documents(doc! {}).await.expect("counted")
    }
}

pub fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

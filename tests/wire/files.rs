//! Outputs as Parquet and JSON files, in a folder and in a bucket, read by pyarrow and DuckDB.

use std::path::Path;
use std::process::Command;

use super::pipeline::{Pipeline, text};
use super::services::{S3, Services, installed};

/// STORED AS, LOCATION and OPTIONS of each output of the shipped program.
const TARGETS: [(&str, &str); 5] = [
    ("validated_orders", "PARQUET LOCATION 'out/paid' OPTIONS ('id' 'order_id', 'compression' 'zstd')"),
    ("rejected_payments", "PARQUET LOCATION 'out/rejected/' OPTIONS ('id' 'payment_id')"),
    ("dead_letters", "PARQUET LOCATION 'out/letters' OPTIONS ('compression' 'lz4')"),
    ("orphan_payments", "PARQUET LOCATION 's3://checkpoints/files/orphans' OPTIONS ('id' 'payment_id')"),
    (
        "unpaid_orders",
        "JSON LOCATION 's3://checkpoints/files/unpaid/' OPTIONS ('id' 'order_id', 'compression' 'gzip')",
    ),
];

/// The shipped program with other targets.
fn write_program(folder: &Path) {
    let status = Command::new("cp").arg("-r").arg("sql").arg(folder).status().expect("cp runs");
    assert!(status.success());
    for (output, target) in TARGETS {
        let path = folder.join("sql/outputs").join(format!("{output}.sql"));
        let sql = std::fs::read_to_string(&path).expect("read");
        let insert = &sql[sql.find("INSERT INTO").expect("an INSERT")..];
        let text = format!("CREATE EXTERNAL TABLE {output} STORED AS {target};\n\n{insert}");
        std::fs::write(&path, text).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_by_others() {
    let Some(services) = Services::start().await else { return };
    let Some(s3) = S3::start().await else { return };
    let Some(readers) = installed("READERS", "readers-1") else {
        assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
        eprintln!("SKIPPED: no pyarrow and DuckDB (READERS): run tests/services/install.sh");
        return;
    };
    let mut pipeline = Pipeline::new(&services, "files");
    pipeline.variables = s3.variables().to_vec();
    let folder = pipeline.folder.path();
    write_program(folder);
    pipeline.produce(&["--count", "3000", "--late", "0"]);
    let run = |more: &[&str]| {
        let mut command = pipeline.command("run");
        command.args(["--trigger", "available-now", "--max-offsets-per-trigger", "1000"]);
        // No collection is asked for, so no MongoDB.
        command.env_remove("MONGODB_URI").args(["--mongodb", "mongodb://127.0.0.1:1"]);
        command.args(["--checkpoint", &pipeline.checkpoint]).current_dir(folder).args(more);
        command.output().expect("runs")
    };
    let blocked = folder.join("out");
    std::fs::write(&blocked, "a file where a folder should be").expect("written");
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(
        text(&output).contains("output \"dead_letters\" can't write files to \"out/letters\""),
        "{}",
        text(&output)
    );
    std::fs::remove_file(&blocked).expect("removed");
    let mut command = pipeline.command("run");
    command.env("ECOMM_BATCH_FAULT", "after-sink 1 kill").args(["--trigger", "available-now"]);
    command
        .args(["--max-offsets-per-trigger", "1000", "--checkpoint", &pipeline.checkpoint])
        .current_dir(folder);
    assert_eq!(command.output().expect("runs").status.code(), None);
    for _ in 0..2 {
        let output = run(&[]);
        assert!(output.status.success(), "{}", text(&output));
    }
    // Another run would begin with the same names.
    let mut command = pipeline.command("run");
    command.args(["--trigger", "available-now", "--checkpoint", "another"]).current_dir(folder);
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let words = "output \"dead_letters\" would write among the files of another run: \"out/letters/";
    assert!(text(&output).contains(words) && text(&output).contains("move them away"), "{}", text(&output));
    let check = pipeline.command("check").current_dir(folder).output().expect("runs");
    assert!(text(&check).contains("Parquet files have times in microseconds"), "{}", text(&check));
    let read = Command::new("python3")
        .arg("tests/wire/readers.py")
        .arg(pipeline.ledger())
        .arg(folder)
        .arg(format!("{}/files", S3::BUCKET))
        .env("PYTHONPATH", readers)
        .envs(s3.variables())
        .output()
        .expect("python3 runs");
    assert!(read.status.success(), "{}", text(&read));
    println!("{}", String::from_utf8_lossy(&read.stdout));
}

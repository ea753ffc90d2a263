//! Whatever comes, nothing panics: messages, SQL, checkpoint files.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use ecomm_batch::batch::offset::TopicPartition;
use ecomm_batch::checkpoint::record::{CommitRecord, Metadata, OffsetRecord, open, seal};
use ecomm_batch::decode::Decoder;
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::query::sql_file::SqlFile;
use ecomm_batch::source::Records;
use proptest::prelude::*;

fn decoder() -> Decoder {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("n", DataType::Int32, true),
        Field::new("amount", DataType::Decimal128(18, 2), true),
        Field::new("x", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
    ]);
    Decoder::try_new(Arc::new(schema), Some(6), 10_000).expect("all types can be read")
}

const GOOD: &str = r#"{"id":"a","n":1,"amount":"12.50","x":-1.5e3,"flag":true,"day":"2026-01-05","at":"2026-01-05T10:00:00.5+02:00"}"#;

/// Bytes of any kind: noise, JSON-like text, a good message with a stretch of it replaced.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let json = "[\\{\\}\\[\\]\",:0-9a-z\\\\ .eE+\\-\u{e9}\u{0}]{0,120}".prop_map(String::into_bytes);
    let broken = (0..GOOD.len(), 0..20usize, prop::collection::vec(any::<u8>(), 0..20)).prop_map(
        |(at, length, with)| {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes.splice(at..(at + length).min(GOOD.len()), with);
            bytes
        },
    );
    let number = "-?[0-9]{0,50}(\\.[0-9]{0,50})?([eE][+-]?[0-9]{0,12})?".prop_map(|number| {
        format!(r#"{{"id":"a","amount":{number},"n":{number},"x":{number}}}"#).into_bytes()
    });
    let nested =
        (0..10_000usize).prop_map(|depth| format!(r#"{{"id":"a","y":{}"#, "[".repeat(depth)).into_bytes());
    prop_oneof![noise, json, broken, number, nested]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A bad record costs itself only: its neighbours keep their values and their offsets.
    #[test]
    fn no_message_harms_its_neighbours(values in prop::collection::vec(value(), 1..4)) {
        let mut records = Records::new(TopicPartition::new("t", 0));
        records.push(10, 0, None, Some(br#"{"id":"first","n":1}"#));
        for (offset, value) in (11..).zip(&values) {
            records.push(offset, 0, Some(b"key"), Some(value));
        }
        records.push(99, 0, None, Some(br#"{"id":"last","n":2}"#));
        let decoded = decoder().decode(&records).expect("decodes");
        prop_assert_eq!(decoded.records.len() + decoded.rejects.len(), records.len());
        let ids = decoded.rows.column(0).as_string::<i32>();
        prop_assert_eq!(ids.value(0), "first");
        prop_assert_eq!(ids.value(ids.len() - 1), "last");
        let of_row = |row: usize| records.get(decoded.records[row] as usize).offset();
        prop_assert_eq!((of_row(0), of_row(ids.len() - 1)), (10, 99));
        let n = decoded.rows.column(1).as_primitive::<arrow::datatypes::Int32Type>();
        prop_assert_eq!((n.value(0), n.value(n.len() - 1)), (1, 2));
    }

    /// A checkpoint file that was touched is refused, never believed and never a panic.
    #[test]
    fn no_touched_checkpoint_file_is_believed(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0..400usize,
        bit in 0..8u32,
    ) {
        prop_assert!(open::<Metadata>("metadata", &bytes).is_err());
        prop_assert!(open::<OffsetRecord>("offsets/1", &bytes).is_err());
        prop_assert!(open::<CommitRecord>("commits/1", &bytes).is_err());
        let metadata = Metadata { query_id: "q".to_owned(), starting_offsets: Default::default(), started_ms: 5 };
        let mut sealed = seal("metadata", &metadata).expect("sealed");
        let at = at % sealed.len();
        sealed[at] ^= 1 << bit;
        if let Ok(opened) = open::<Metadata>("metadata", &sealed) {
            // White space is not part of what the checksum seals.
            prop_assert_eq!(opened.query_id, "q");
            prop_assert_eq!(opened.started_ms, 5);
        }
    }
}

fn shipped() -> Vec<SqlFile> {
    SqlFolder::read(std::path::Path::new("sql"), |_| None).expect("the shipped SQL").files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A SQL folder is planned or refused.
    #[test]
    fn no_sql_panics(
        number in 0..100usize,
        at in any::<prop::sample::Index>(),
        length in 0..30usize,
        with in prop_oneof![
            "[ -~]{0,20}",
            prop::sample::select(vec![
                "(", ")", "''", "SELECT", "NULL", "1 / 0", "CAST(NULL AS INT)", "[1, 2]", "*", "order_id.", "now()",
                "INTERVAL '1 day'", "(SELECT 1)", "OVER ()", "''::text", "DISTINCT", "\u{1F600}", "/*", "--",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let mut files = shipped();
        let number = number % files.len();
        let mut text: Vec<char> = files[number].text.chars().collect();
        let at = at.index(text.len());
        let end = (at + length).min(text.len());
        text.splice(at..end, with.chars());
        files[number].text = text.into_iter().collect();
        let folder = SqlFolder { root: "fuzz".into(), files, references: Vec::new() };
        if let Err(error) = Program::plan(folder) {
            prop_assert_eq!(error.kind(), ecomm_batch::error::ErrorKind::Config, "{}", error);
        }
    }
}

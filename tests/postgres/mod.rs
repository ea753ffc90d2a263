//! SQL means what it says: random expressions, as a program computes them and as a real PostgreSQL does.
//!
//! Booleans are rules, whose verdicts are compared; everything else is a field of an output, whose values
//! are. What one can't compute for a row the other must not compute either. An expression that is refused
//! when it is planned is no difference; how many there are is printed, and bounded.
//!
//! `POSTGRES_EXPRESSIONS` sets how many, `POSTGRES_SEED` which.

mod expression;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ecomm_batch::batch::SinkMode;
use ecomm_batch::batch::offset::TopicPartition;
use ecomm_batch::clock::ManualClock;
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::faults::Faults;
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::query::sql_file::SqlFile;
use ecomm_batch::ranges::StartingOffsets;
use ecomm_batch::sink::memory::MemorySink;
use ecomm_batch::source::memory::MemorySource;
use serde_json::value::RawValue;

use expression::{Expression, Generator, Kind, SCHEMA};
use server::Postgres;

/// Rows that every expression is computed for.
const NUM_ROWS: usize = 40;
/// Expressions of one program.
const GROUP: usize = 40;

/// What an expression gives for a row: the value as JSON has it, or none since it can't be computed.
type Outcome = Option<String>;

/// The functions that PostgreSQL has no word for.
const FUNCTIONS: &str = "
CREATE FUNCTION try_int(x text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN x::int; EXCEPTION WHEN others THEN RETURN NULL; END';
CREATE FUNCTION try_smallint(x text) RETURNS smallint LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN x::smallint; EXCEPTION WHEN others THEN RETURN NULL; END';
CREATE FUNCTION try_decimal(x text) RETURNS decimal(4, 1) LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN x::decimal(4, 1); EXCEPTION WHEN others THEN RETURN NULL; END';
CREATE FUNCTION evaluate(number int, expression text) RETURNS SETOF text LANGUAGE plpgsql AS $f$
DECLARE
  one record;
  value text;
BEGIN
  BEGIN
    RETURN QUERY EXECUTE format(
      'SELECT json_build_array(%s, id, to_json(%s))::text FROM t', number, expression);
    RETURN;
  EXCEPTION
    WHEN undefined_function OR datatype_mismatch OR indeterminate_datatype OR ambiguous_function OR cannot_coerce
      OR undefined_object OR syntax_error OR wrong_object_type OR invalid_column_reference THEN
      RETURN NEXT json_build_array(number)::text;
      RETURN;
    WHEN others THEN NULL;
  END;
  FOR one IN SELECT id FROM t LOOP
    BEGIN
      EXECUTE format('SELECT json_build_array(%s, id, to_json(%s))::text FROM t WHERE id = $1', number, expression)
        INTO value USING one.id;
    EXCEPTION WHEN others THEN
      value := json_build_array(number, one.id)::text;
    END;
    RETURN NEXT value;
  END LOOP;
END $f$;
";

fn rows(generator: &mut Generator) -> Vec<Vec<Option<&'static str>>> {
    (0..NUM_ROWS).map(|_| generator.row()).collect()
}

/// The names of the columns behind `id`, with whether JSON writes them as they stand.
fn columns() -> Vec<(String, bool)> {
    // "amount DECIMAL(18", "2)": a type's scale is no column.
    SCHEMA
        .split(", ")
        .filter(|part| part.contains(' '))
        .skip(1)
        .map(|part| {
            let (name, sql_type) = part.split_once(' ').expect("a type");
            let plain = ["BIGINT", "INT", "SMALLINT", "DOUBLE", "REAL", "BOOLEAN"];
            (name.to_owned(), plain.iter().any(|known| sql_type.starts_with(known)))
        })
        .collect()
}

fn message(id: usize, row: &[Option<&str>]) -> String {
    let fields = columns().into_iter().zip(row).map(|((name, plain), value)| match value {
        None => format!("\"{name}\":null"),
        Some(value) if plain => format!("\"{name}\":{value}"),
        Some(value) => format!("\"{name}\":{}", serde_json::Value::from(*value)),
    });
    format!("{{\"id\":\"r{id}\",{}}}", fields.collect::<Vec<_>>().join(","))
}

fn table(rows: &[Vec<Option<&str>>]) -> String {
    let mut script = format!("CREATE TABLE t ({SCHEMA});\n");
    for (id, row) in rows.iter().enumerate() {
        let values = row.iter().map(|value| match value {
            None => "NULL".to_owned(),
            Some(value) => format!("'{}'", value.replace('\'', "''")),
        });
        script.push_str(&format!(
            "INSERT INTO t VALUES ('r{id}', {});\n",
            values.collect::<Vec<_>>().join(", ")
        ));
    }
    script + FUNCTIONS
}

/// Number of the expression and of the row to the value.
type Outcomes = BTreeMap<(usize, usize), Outcome>;

fn row_of(id: &str) -> usize {
    id.trim_matches('"').trim_start_matches('r').parse().expect("an id")
}

/// The outcomes of a real PostgreSQL, and the expressions that it refuses.
fn theirs(server: &Postgres, expressions: &[(usize, Expression)]) -> (Outcomes, BTreeSet<usize>) {
    let calls = expressions
        .iter()
        .map(|(number, expression)| format!("SELECT evaluate({number}, $e${}$e$);\n", expression.theirs));
    let (mut outcomes, mut refused) = (Outcomes::new(), BTreeSet::new());
    for line in server.run(&calls.collect::<String>()) {
        let parts: Vec<Box<RawValue>> = serde_json::from_str(&line).expect("an array");
        let number = parts[0].get().parse().expect("a number");
        match parts.get(1) {
            Some(id) => {
                let value = parts.get(2).map(|value| value.get().to_owned());
                outcomes.insert((number, row_of(id.get())), value);
            }
            None => drop(refused.insert(number)),
        }
    }
    (outcomes, refused)
}

fn folder(expressions: &[(usize, Expression)]) -> SqlFolder {
    let file = |path: String, text: String| SqlFile { path, text };
    let source = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE t ({SCHEMA}) STORED AS KAFKA LOCATION 't' \
         OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');"
    );
    let mut files = vec![
        file("t.sql".to_owned(), source),
        file(
            "letters.sql".to_owned(),
            "CREATE EXTERNAL TABLE letters STORED AS JSON LOCATION 'letters';
             INSERT INTO letters SELECT \"offset\", reason, error FROM dead_letters;"
                .to_owned(),
        ),
        file(
            "verdicts.sql".to_owned(),
            "CREATE EXTERNAL TABLE verdicts STORED AS JSON LOCATION 'verdicts';
             INSERT INTO verdicts SELECT id, _violations FROM t;"
                .to_owned(),
        ),
    ];
    for (number, Expression { kind, ours, .. }) in expressions {
        files.push(match kind {
            // The verdict of NULL is told apart from FALSE by the detail.
            Kind::Bool => file(
                format!("rules/e{number}.sql"),
                format!("SELECT {ours} AS holds, CASE WHEN ({ours}) IS NULL THEN 'null' ELSE 'false' END AS detail FROM t;"),
            ),
            _ => file(
                format!("outputs/e{number}.sql"),
                format!(
                    "CREATE EXTERNAL TABLE e{number} STORED AS JSON LOCATION 'e{number}';
                     INSERT INTO e{number} SELECT id, {ours} AS x FROM t;"
                ),
            ),
        });
    }
    SqlFolder { root: "postgres".into(), files, references: Vec::new() }
}

/// The program's outcomes, and the expressions that it refuses, with the reason.
async fn ours(
    mut expressions: Vec<(usize, Expression)>,
    messages: &[String],
) -> (Outcomes, Vec<(usize, String)>) {
    let mut refused = Vec::new();
    let program = match Program::plan(folder(&expressions)) {
        Ok(program) => program,
        Err(_) => {
            expressions.retain(|one| match Program::plan(folder(std::slice::from_ref(one))) {
                Ok(_) => true,
                Err(error) => {
                    refused.push((one.0, error.to_string()));
                    false
                }
            });
            Program::plan(folder(&expressions)).expect("what is not refused alone is not refused together")
        }
    };
    let checkpoint = tempfile::tempdir().expect("a folder");
    let (source, sink) = (Arc::new(MemorySource::default()), Arc::new(MemorySink::default()));
    for message in messages {
        source.append(
            TopicPartition::new("t", 0),
            1_767_571_200_000,
            None,
            Some(message.clone().into_bytes()),
        );
    }
    let options = EngineOptions {
        checkpoint: checkpoint.path().into(),
        new_query_id: "postgres".to_owned(),
        max_offsets_per_trigger: None,
        starting_offsets: StartingOffsets::Earliest,
        fail_on_data_loss: true,
        retain_batches: 100,
        sink_mode: SinkMode::Idempotent,
        groups: None,
        replan: false,
        faults: Arc::new(Faults::default()),
    };
    let clock = Arc::new(ManualClock::new(1_772_000_000_000));
    let stop = tokio::sync::watch::channel(false).1;
    let mut engine = Engine::open(Arc::new(program), source, Arc::clone(&sink) as _, clock, options, stop)
        .await
        .expect("opens");
    engine.batch(None, None).await.expect("runs");

    let mut outcomes = Outcomes::new();
    let fields =
        |text: &str| -> BTreeMap<String, Box<RawValue>> { serde_json::from_str(text).expect("an object") };
    for document in sink.since("verdicts", 0) {
        let document = fields(&document);
        let violations: Vec<serde_json::Value> =
            serde_json::from_str(document["_violations"].get()).expect("a list");
        for (number, _) in expressions.iter().filter(|(_, expression)| expression.kind == Kind::Bool) {
            let violation =
                violations.iter().find(|violation| violation["rule"] == format!("e{number}").as_str());
            let outcome = match violation.map(|violation| violation["detail"].as_str().unwrap_or_default()) {
                None => Some("true".to_owned()),
                Some(detail) if detail.starts_with("could not be computed") => None,
                Some(detail) => Some(detail.to_owned()),
            };
            outcomes.insert((*number, row_of(document["id"].get())), outcome);
        }
    }
    for (number, _) in expressions.iter().filter(|(_, expression)| expression.kind != Kind::Bool) {
        for row in 0..messages.len() {
            outcomes.insert((*number, row), None);
        }
        for document in sink.since(&format!("e{number}"), 0) {
            let document = fields(&document);
            outcomes.insert((*number, row_of(document["id"].get())), Some(document["x"].get().to_owned()));
        }
    }
    let malformed: Vec<String> =
        sink.since("letters", 0).into_iter().filter(|letter| letter.contains("malformed")).collect();
    assert!(malformed.is_empty(), "a row of the test is none: {malformed:?}");
    (outcomes, refused)
}

/// Whether two outcomes are one value.
fn is_same(kind: Kind, ours: &Outcome, theirs: &Outcome) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return ours.is_none() == theirs.is_none() };
    if ours == theirs {
        return true;
    }
    if ours == "null" || theirs == "null" {
        // JSON has no NaN: PostgreSQL writes it as a text, we as null.
        return kind == Kind::Double && theirs == "\"NaN\"";
    }
    match kind {
        Kind::Int | Kind::Decimal => digits(ours) == digits(theirs),
        Kind::Double => match (ours.parse::<f64>(), theirs.parse::<f64>()) {
            // PostgreSQL shows a REAL by its shortest digits, we by the double that it is.
            (Ok(ours), Ok(theirs)) => ours == theirs || f64::from(theirs as f32) == ours,
            _ => false,
        },
        Kind::Date | Kind::Timestamp => instant(ours) == instant(theirs),
        Kind::Text | Kind::List => {
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            value(ours) == value(theirs)
        }
        Kind::Bool => false,
    }
}

/// A number without zeros that do not count.
fn digits(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

/// Year and what follows it: we count years before 1 as ISO 8601 does, PostgreSQL as historians do.
fn instant(json: &str) -> (i64, String) {
    let text = json.trim_matches('"').trim_end_matches('Z');
    let (text, is_bc) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let sign = text.starts_with('-');
    let (year, rest) = text.trim_start_matches(['+', '-']).split_once('-').expect("a date");
    let year: i64 = year.parse().expect("a year");
    let year = if is_bc {
        1 - year
    } else if sign {
        -year
    } else {
        year
    };
    let rest = match rest.split_once('.') {
        Some((whole, fraction)) => format!("{whole}.{}", fraction.trim_end_matches('0')),
        None => rest.to_owned(),
    };
    (year, rest.trim_end_matches('.').to_owned())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn expressions_give_what_postgresql_gives() {
    let Some(server) = Postgres::start() else { return };
    let (count, seed) =
        (setting("POSTGRES_EXPRESSIONS", 3_000) as usize, setting("POSTGRES_SEED", 20_261_126));
    let mut generator = Generator::new(seed);
    let rows = rows(&mut generator);
    server.run(&table(&rows));
    let messages: Vec<String> = rows.iter().enumerate().map(|(id, row)| message(id, row)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut num_values, mut num_both_refuse) = (0, 0);
    let (mut refused, mut different) = (Vec::new(), Vec::new());
    let all: Vec<(usize, Expression)> = (0..count).map(|number| (number, generator.expression())).collect();
    for group in all.chunks(GROUP) {
        let (ours, refused_here) = runtime.block_on(ours(group.to_vec(), &messages));
        let (theirs, refused_there) = theirs(&server, group);
        for (number, expression) in group {
            let ours_refuses = refused_here.iter().find(|(known, _)| known == number);
            match (ours_refuses, refused_there.contains(number)) {
                (Some(_), true) => num_both_refuse += 1,
                // A constant that can't be computed: PostgreSQL finds it when it runs.
                (Some(_), false) if (0..messages.len()).all(|row| theirs[&(*number, row)].is_none()) => {
                    num_both_refuse += 1;
                }
                (Some((_, reason)), false) => {
                    refused.push(format!("{}\n    {}", expression.ours, reason.replace('\n', "\n    ")));
                }
                (None, true) => different.push(format!("{}\n    PostgreSQL refuses it", expression.ours)),
                (None, false) => {
                    num_values += messages.len();
                    let differs = |row: &usize| {
                        !is_same(expression.kind, &ours[&(*number, *row)], &theirs[&(*number, *row)])
                    };
                    if let Some(row) = (0..messages.len()).find(differs) {
                        different.push(format!(
                            "{}\n    PostgreSQL: {}\n    at {}\n    ours {:?}\n    PostgreSQL {:?}",
                            expression.ours,
                            expression.theirs,
                            mentioned(&expression.ours, &messages[row]),
                            ours[&(*number, row)],
                            theirs[&(*number, row)]
                        ));
                    }
                }
            }
        }
    }
    let share = refused.len() as f64 / count as f64;
    println!(
        "{count} expressions (seed {seed}), {num_values} values compared, {} different, {} refused when planned \
         ({:.2} %), {num_both_refuse} refused by both",
        different.len(),
        refused.len(),
        share * 100.0
    );
    if let Ok(path) = std::env::var("POSTGRES_REFUSED") {
        std::fs::write(path, refused.join("\n")).expect("written");
    }
    let shown = different.iter().take(60).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(different.is_empty(), "{} expressions differ, the first:\n{shown}", different.len());
    assert!(share < 0.02, "{} of {count} expressions were refused:\n{}", refused.len(), refused.join("\n"));
}

/// The fields of a message whose names stand in an expression.
fn mentioned(expression: &str, message: &str) -> String {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(message).expect("an object");
    let words: BTreeSet<&str> = expression.split(|c: char| !c.is_alphanumeric()).collect();
    let named = fields.iter().filter(|(name, _)| words.contains(name.as_str()));
    named.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

//! A program in plain words: what is read, how long rows wait and why, what is asked of them, where they go.

use std::fmt::Write;

use arrow::datatypes::{DataType, TimeUnit};

use crate::batch::watermark::nanos;
use crate::clock::Nanos;
use crate::query::Program;
use crate::query::join_view::JoinView;
use crate::query::output::{FileFormat, Output, Reads, SinkTarget};
use crate::query::side::Side;
use crate::query::source_table::SourceTable;

/// The whole program, with DataFusion's physical plan of a batch.
pub fn explain(program: &Program) -> String {
    let mut text = String::new();
    section(&mut text, "Sources", program.sources.iter().map(describe_source));
    match &program.join {
        Some(join) => section(&mut text, "Join", describe_join(program, join)),
        None => section(&mut text, "Rows", [describe_single(program)]),
    }
    section(
        &mut text,
        "Rules, in this order",
        program.rules.iter().map(|rule| {
            let rounds = if rule.reads_prior_valid {
                "  (in rounds, after all others: it reads _prior_valid)"
            } else {
                ""
            };
            format!("{}{rounds}", rule.name)
        }),
    );
    section(&mut text, "Outputs", program.outputs.iter().map(describe_output));
    let notes = notes(program);
    if !notes.is_empty() {
        section(&mut text, "Notes", notes);
    }
    if let Some(join) = &program.join {
        section(
            &mut text,
            "DataFusion's physical plan of the view's rows",
            plan_lines(&join.describe_rows()),
        );
    }
    for output in &program.outputs {
        let title = format!("DataFusion's physical plan of {}", output.name);
        section(&mut text, &title, plan_lines(&output.describe()));
    }
    text.trim_end().to_owned()
}

/// What a user should know and may not expect.
pub fn notes(program: &Program) -> Vec<String> {
    let mut notes = Vec::new();
    for source in program.sources.iter().filter(|source| source.primary_key.is_empty()) {
        notes.push(format!("{} has no PRIMARY KEY: a message that is sent twice counts twice", source.name));
    }
    for (sink, unit, finer) in [
        ("MongoDB stores", "milliseconds", &[TimeUnit::Microsecond, TimeUnit::Nanosecond][..]),
        ("Parquet files have", "microseconds", &[TimeUnit::Nanosecond]),
    ] {
        let is_to_it = |output: &&Output| match output.target {
            SinkTarget::MongoDb { .. } => unit == "milliseconds",
            SinkTarget::Files { format, .. } => {
                unit == "microseconds" && matches!(format, FileFormat::Parquet(_))
            }
        };
        let rounded: Vec<String> = program
            .outputs
            .iter()
            .filter(is_to_it)
            .filter_map(|output| {
                let fields = output.schema.fields().iter();
                let fields = fields.filter(|field| has_time(field.data_type(), finer));
                let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
                (!names.is_empty()).then(|| format!("{} ({})", output.name, names.join(", ")))
            })
            .collect();
        if !rounded.is_empty() {
            notes.push(format!("{sink} times in {unit}, rounded down: {}", rounded.join(", ")));
        }
    }
    for output in program.outputs.iter().filter(|output| !output.of_one_run.is_empty()) {
        notes.push(format!(
            "output {}: {} depends on when the records were read and in which batches: another run over them, as after a lost checkpoint, \
             finds its documents there and different (dead letters conflict); leave it out to find them equal",
            output.name,
            output.of_one_run.join(", ")
        ));
    }
    notes.extend(unread_letters(program));
    notes.extend(program.view_notes.iter().map(|(view, note)| format!("view {view}: {}", note.text())));
    for rule in &program.rules {
        notes.extend(rule.notes.iter().map(|note| format!("rule {}: {}", rule.name, note.text())));
    }
    for output in &program.outputs {
        notes.extend(output.notes.iter().map(|note| format!("output {}: {}", output.name, note.text())));
    }
    notes
}

/// What is lost to sight in a program that stores no dead letters.
pub fn unread_letters(program: &Program) -> Option<String> {
    let is_read = program.outputs.iter().any(|output| output.reads == Reads::DeadLetters);
    (!is_read).then(|| {
        "no output reads dead_letters: records that become no row (malformed, late, duplicate, future) and rows that \
         can't be stored are counted, and nothing else; add INSERT INTO <sink> SELECT * FROM dead_letters"
            .to_owned()
    })
}

/// Whether a type has times of one of these units, at any depth.
fn has_time(data_type: &DataType, units: &[TimeUnit]) -> bool {
    match data_type {
        DataType::Timestamp(unit, _) => units.contains(unit),
        DataType::List(item) => has_time(item.data_type(), units),
        DataType::Struct(fields) => fields.iter().any(|field| has_time(field.data_type(), units)),
        _ => false,
    }
}

fn section(text: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{title}");
    for line in lines {
        for part in line.lines() {
            let _ = writeln!(text, "  {part}");
        }
    }
    text.push('\n');
}

fn plan_lines(plan: &str) -> Vec<String> {
    plan.lines().map(str::to_owned).collect()
}

fn describe_source(source: &SourceTable) -> String {
    let key = match source.primary_key.is_empty() {
        true => "no PRIMARY KEY".to_owned(),
        false => format!("PRIMARY KEY ({})", source.primary_key_names().collect::<Vec<_>>().join(", ")),
    };
    let source_idle = match source.watermark.source_idle_timeout {
        Some(timeout) => format!("after {}", length(nanos(timeout))),
        None => "never".to_owned(),
    };
    format!(
        "{} from topic \"{}\": {key}; watermark on {}, {} behind the latest, a partition idle after {}, the whole source {source_idle}, future beyond {} ahead, tombstones: {}",
        source.name,
        source.topic,
        source.event_time_name(),
        length(nanos(source.watermark.delay)),
        length(nanos(source.watermark.idle_timeout)),
        length(nanos(source.max_ahead)),
        source.tombstone.name(),
    )
}

fn describe_single(program: &Program) -> String {
    let read = match program.inputs().next().and_then(|input| input.description.as_deref()) {
        Some(view) => format!("a view of the source:\n{view}"),
        None => "the source as it stands".to_owned(),
    };
    format!(
        "rules and outputs read {}: {read}\nno row is kept; PRIMARY KEY values are remembered until the watermark has passed them",
        program.view.name
    )
}

fn describe_join(program: &Program, join: &JoinView) -> Vec<String> {
    let (left, right) = (join.side(Side::Left), join.side(Side::Right));
    let mut lines = vec![
        format!(
            "{}: {} {} JOIN {}",
            program.view.name,
            left.alias,
            join.join_type.to_string().to_uppercase(),
            right.alias
        ),
        format!("key: {}", join.keys.join(" AND ")),
        format!("time: {}", range_in_words(join.time_range)),
    ];
    if !join.predicates.is_empty() {
        lines.push(format!("and: {}", join.predicates.join(" AND ")));
    }
    for side in Side::BOTH {
        lines.push(describe_side(program, join, side));
    }
    lines
}

fn describe_side(program: &Program, join: &JoinView, side: Side) -> String {
    let plan = join.side(side);
    let source = &program.sources[plan.input.source];
    let reach = join.reach(side);
    let other = &join.side(side.other()).alias;
    let why = format!("a row of {other} may be dated up to {} it", relative(reach));
    let kept = if reach >= 0 {
        format!("until the watermark is {} past its {}", length(reach), source.event_time_name())
    } else {
        format!(
            "until the watermark is {} before its {}",
            length(reach.saturating_neg()),
            source.event_time_name()
        )
    };
    let mut text = format!("a row of {} is kept {kept}, since {why}", plan.alias);
    if plan.matches_once {
        let _ = write!(
            text,
            "; it leaves with its first partner, since the PRIMARY KEY of {other} is the join key"
        );
    } else {
        text.push_str("; after a match too, since further partners may come");
    }
    let end = if join.keeps_unmatched(side) {
        "it comes out once, with NULLs"
    } else {
        "it is gone, and counted as unmatched"
    };
    let _ = write!(text, "; if none came {end}");
    let columns: Vec<&str> = plan.input.columns.fields().iter().map(|field| field.name().as_str()).collect();
    let _ = write!(text, "\n  in state: {}", columns.join(", "));
    if !source.primary_key.is_empty() {
        let _ = write!(text, "; its key is remembered for {}", length(join.width()));
    }
    if let Some(view) = &plan.input.description {
        let _ = write!(
            text,
            "\n  before the join:\n{}",
            view.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
        );
    }
    text
}

fn describe_output(output: &Output) -> String {
    let target = match &output.target {
        SinkTarget::MongoDb { database, collection, shared } => {
            format!(
                "MongoDB {database}.{collection}{}",
                if *shared { ", shared with other queries" } else { "" }
            )
        }
        SinkTarget::Files { location, format: FileFormat::Json(_) } => format!("JSON lines in {location}"),
        SinkTarget::Files { location, format: FileFormat::Parquet(_) } => {
            format!("Parquet files in {location}")
        }
    };
    let fields: Vec<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let id = match (output.id.is_empty(), output.reads) {
        (true, Reads::View) => "the positions of its records".to_owned(),
        (true, Reads::DeadLetters) => "the position of its record and the reason".to_owned(),
        (false, _) => output.id.iter().map(|&index| fields[index]).collect::<Vec<_>>().join(", "),
    };
    format!("{} to {target}; _id is {id}; fields: {}", output.name, fields.join(", "))
}

/// `the right row is 5m before to 10m after its left row`.
pub(crate) fn range_in_words((least, greatest): (Nanos, Nanos)) -> String {
    format!("the right row is {} to {} its left row", relative(least), relative(greatest))
}

/// `5m before`, `at the time of`, `10m after`.
fn relative(time: Nanos) -> String {
    match time {
        0 => "at the time of".to_owned(),
        time if time < 0 => format!("{} before", length(time.saturating_neg())),
        time => format!("{} after", length(time)),
    }
}

fn length(time: Nanos) -> String {
    crate::duration::format(std::time::Duration::from_nanos(time.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::query::folder::SqlFolder;

    #[test]
    fn the_shipped_program_is_explained() {
        let folder = SqlFolder::read(Path::new("sql"), |_| None).expect("reads");
        let text = explain(&Program::plan(folder).expect("plans"));
        for part in [
            "order_payments: o FULL JOIN p",
            "watermark on created_at, 10m behind the latest, a partition idle after 1m, the whole source never, future",
            "key: o.order_id = p.order_id",
            "the right row is 5m before to 10m after its left row",
            "a row of o is kept until the watermark is 10m past its created_at",
            "a row of p is kept until the watermark is 5m past its created_at",
            "it leaves with its first partner, since the PRIMARY KEY of o is the join key",
            "not_already_paid  (in rounds",
            "validated_orders to MongoDB ecomm_mart.validated_orders; _id is order_id",
            "ProjectionExec: expr=[o.order_id@0 as order_id",
        ] {
            assert!(text.contains(part), "no \"{part}\" in:\n{text}");
        }
    }

    #[test]
    fn a_source_is_idle_when_its_options_say() {
        let folder = Path::new("tests/cases/sql/source-idle-own");
        let text = explain(&Program::plan(SqlFolder::read(folder, |_| None).expect("reads")).expect("plans"));
        for (source, idle) in
            [("orders", "the whole source after 5m,"), ("payments", "the whole source after 30s,")]
        {
            let line = text.lines().find(|line| line.trim().starts_with(&format!("{source} from topic")));
            assert!(line.is_some_and(|line| line.contains(idle)), "{source}:\n{text}");
        }
    }
}

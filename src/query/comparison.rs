//! What differs between the SQL of a checkpoint and that of a start.

use crate::duration;
use crate::query::Program;
use crate::query::change::{Change, Effect};
use crate::query::fingerprint::Fingerprint;
use crate::query::source_table::SourceTable;

/// All differences between the program of a checkpoint and the next one; white space and comments are none.
pub fn differences(old: &Program, new: &Program) -> Vec<Change> {
    let mut changes = Fingerprint::of(old).changes(&Fingerprint::of(new));
    let mut tell = |what: String| changes.push(Change { what, effect: Effect::NextBatch });
    for source in &new.sources {
        if let Some(before) = old.sources.iter().find(|before| before.name == source.name) {
            options(before, source).into_iter().for_each(&mut tell);
        }
    }
    let named = [
        ("view", views(old), views(new)),
        ("rule", rules(old), rules(new)),
        ("output", outputs(old), outputs(new)),
        ("reference file", references(old), references(new)),
    ];
    named.iter().flat_map(|(kind, old, new)| of_kind(kind, old, new)).for_each(tell);
    changes
}

/// Parts of a program by name, with what they say.
type Named<'a> = Vec<(&'a str, &'a [u8])>;

fn views(program: &Program) -> Named<'_> {
    program.view_texts.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect()
}

fn rules(program: &Program) -> Named<'_> {
    program.rules.iter().map(|rule| (rule.name.as_str(), rule.text.as_bytes())).collect()
}

fn outputs(program: &Program) -> Named<'_> {
    program.outputs.iter().map(|output| (output.name.as_str(), output.text.as_bytes())).collect()
}

fn references(program: &Program) -> Named<'_> {
    program.folder.references.iter().map(|file| (file.location.as_str(), file.bytes.as_ref())).collect()
}

fn of_kind(kind: &str, old: &Named<'_>, new: &Named<'_>) -> Vec<String> {
    let mut changes = Vec::new();
    for (name, text) in new {
        match old.iter().find(|(before, _)| before == name) {
            None => changes.push(format!("{kind} \"{name}\" is new")),
            Some((_, before)) if before != text => changes.push(format!("{kind} \"{name}\" has changed")),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(name, _)| new.iter().all(|(after, _)| after != name));
    changes.extend(gone.map(|(name, _)| format!("{kind} \"{name}\" is gone")));
    changes
}

/// What differs between the OPTIONS of a source.
fn options(old: &SourceTable, new: &SourceTable) -> Vec<String> {
    let lasts = |length| duration::format(length);
    let ends = |length: Option<_>| length.map_or_else(|| "never".to_owned(), duration::format);
    let values = |source: &SourceTable| {
        [
            ("watermark.delay", lasts(source.watermark.delay)),
            ("watermark.idle_timeout", lasts(source.watermark.idle_timeout)),
            ("watermark.source_idle_timeout", ends(source.watermark.source_idle_timeout)),
            ("watermark.max_ahead", lasts(source.max_ahead)),
            ("max.record.bytes", source.max_record_bytes.to_string()),
            ("tombstone", source.tombstone.name().to_owned()),
        ]
    };
    let pairs = values(old).into_iter().zip(values(new)).filter(|(before, after)| before != after);
    pairs
        .map(|((key, before), (_, after))| format!("'{key}' of \"{}\" is {after}, it was {before}", new.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::query::folder::SqlFolder;

    /// The shipped program with texts replaced, by the end of the file's name.
    fn program(replaced: &[(&str, &str, &str)]) -> Program {
        let mut folder = SqlFolder::read(Path::new("sql"), |_| None).expect("reads");
        for (file, from, to) in replaced {
            let file = folder.files.iter_mut().find(|known| known.path.ends_with(file)).expect("there");
            assert!(file.text.contains(from), "no \"{from}\" in {}", file.path);
            file.text = file.text.replacen(from, to, 1);
        }
        Program::plan(folder).expect("plans")
    }

    fn changes(old: &[(&str, &str, &str)], new: &[(&str, &str, &str)]) -> Vec<(String, Effect)> {
        let changes = differences(&program(old), &program(new));
        changes.into_iter().map(|change| (change.what, change.effect)).collect()
    }

    #[test]
    fn each_change_is_told_with_its_effect() {
        use Effect::{NewCheckpoint, NextBatch, NullInState};
        const NOTE: (&str, &str, &str) =
            ("sources/orders.sql", "    customer_id VARCHAR,", "    customer_id VARCHAR, note VARCHAR,");
        const USED: (&str, &str, &str) =
            ("order_payments.sql", "    o.customer_id,", "    o.customer_id, o.note,");
        const CAST: (&str, &str, &str) = (
            "order_payments.sql",
            "ON p.order_id = o.order_id",
            "ON CAST(p.order_id AS BIGINT) = CAST(o.order_id AS BIGINT)",
        );
        const TRY_CAST: (&str, &str, &str) = (
            "order_payments.sql",
            "ON p.order_id = o.order_id",
            "ON TRY_CAST(p.order_id AS BIGINT) = TRY_CAST(o.order_id AS BIGINT)",
        );
        const VIEW: (&str, Effect) = ("view \"order_payments\" has changed", NextBatch);
        let change = |what: &str, effect| (what.to_owned(), effect);
        for (old, new, expected) in [
            (vec![], vec![("amount_positive.sql", "-- Nobody", "-- nobody")], vec![]),
            (
                vec![],
                vec![("amount_positive.sql", "> 0 AS holds", ">= 0 AS holds")],
                vec![change("rule \"amount_positive\" has changed", NextBatch)],
            ),
            (
                vec![],
                vec![("unpaid_orders.sql", "    order_date,\n", "")],
                vec![change("output \"unpaid_orders\" has changed", NextBatch)],
            ),
            (
                vec![],
                vec![("sources/payments.sql", "'10 minutes'", "'1 hour'")],
                vec![change("'watermark.delay' of \"payments\" is 1h, it was 10m", NextBatch)],
            ),
            // Decoded only, kept in state, and both ways undone.
            (vec![], vec![NOTE], vec![change("column \"note\" of \"orders\", VARCHAR, is new", NextBatch)]),
            (
                vec![],
                vec![NOTE, USED],
                vec![
                    change("column \"note\" of \"orders\", VARCHAR, is new", NullInState),
                    change(VIEW.0, VIEW.1),
                ],
            ),
            (
                vec![NOTE, USED],
                vec![],
                vec![change("column \"note\" of \"orders\" is gone", NextBatch), change(VIEW.0, VIEW.1)],
            ),
            (
                vec![NOTE],
                vec![NOTE, USED],
                vec![
                    change(
                        "the view uses column \"note\" of \"orders\", which rows in state were stored without",
                        NewCheckpoint,
                    ),
                    change(VIEW.0, VIEW.1),
                ],
            ),
            (
                vec![],
                vec![("sources/orders.sql", "amount DECIMAL(18, 2) NOT NULL", "amount DECIMAL(18, 2)")],
                vec![change(
                    "column \"amount\" of \"orders\" is DECIMAL(18, 2), it was DECIMAL(18, 2) NOT NULL",
                    NextBatch,
                )],
            ),
            (
                vec![("sources/orders.sql", "amount DECIMAL(18, 2) NOT NULL", "amount DECIMAL(18, 2)")],
                vec![],
                vec![change(
                    "column \"amount\" of \"orders\" is DECIMAL(18, 2) NOT NULL, it was DECIMAL(18, 2); rows in state may have NULL",
                    NewCheckpoint,
                )],
            ),
            (
                vec![],
                vec![("sources/orders.sql", "customer_id VARCHAR", "customer_id BIGINT")],
                vec![change("column \"customer_id\" of \"orders\" is BIGINT, it was VARCHAR", NewCheckpoint)],
            ),
            (
                vec![CAST],
                vec![TRY_CAST],
                vec![
                    change(
                        "a CAST before the join is a TRY_CAST, or the other way round: the same key",
                        NextBatch,
                    ),
                    change(VIEW.0, VIEW.1),
                ],
            ),
            (
                vec![],
                vec![
                    ("order_payments.sql", "FULL JOIN", "LEFT JOIN"),
                    ("order_payments.sql", "'5 minutes'", "'1 hour'"),
                ],
                vec![
                    change("the join is LEFT JOIN, it was FULL JOIN", NewCheckpoint),
                    change(
                        "the join's time range: the right row is 1h before to 10m after its left row; until now the right row \
                         is 5m before to 10m after its left row",
                        NewCheckpoint,
                    ),
                    change(VIEW.0, VIEW.1),
                ],
            ),
            (
                vec![],
                vec![(
                    "sources/payments.sql",
                    "    PRIMARY KEY (payment_id)\n",
                    "    PRIMARY KEY (payment_id, order_id)\n",
                )],
                vec![change(
                    "the PRIMARY KEY of \"payments\" is (payment_id, order_id), it was (payment_id)",
                    NewCheckpoint,
                )],
            ),
        ] {
            assert_eq!(changes(&old, &new), expected, "{old:?} to {new:?}");
        }
    }
}

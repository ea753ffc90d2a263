//! What a change of the SQL means for a checkpoint that is in use.

use std::fmt;

use crate::duration;
use crate::query::Program;
use crate::query::fingerprint::Fingerprint;
use crate::query::source_table::SourceTable;

/// What becomes of a change at the next start on the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// State is the same; batches that are planned from then on have it.
    NextBatch,
    /// It holds for records that come; rows in state have NULL there.
    NullInState,
    /// The checkpoint is refused: state was kept for something else.
    NewCheckpoint,
}

impl Effect {
    /// What to do about a change that the checkpoint refuses.
    pub(crate) const NEW_CHECKPOINT: &str = "start anew: `ecomm-batch reset` removes the checkpoint and what it stored; \
         or give another with --checkpoint, and collections of its own or --take-over";
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NextBatch => "takes effect with the next batch",
            Self::NullInState => "safe: rows in state have NULL there",
            Self::NewCheckpoint => "needs a new checkpoint",
        })
    }
}

/// One difference between two programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What differs, in words.
    pub what: String,
    /// What becomes of it.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.effect)
    }
}

impl Change {
    /// All differences between the program of a checkpoint and the next one; white space and comments are none.
    pub fn between(old: &Program, new: &Program) -> Vec<Self> {
        let mut changes = Fingerprint::of(old).changes(&Fingerprint::of(new));
        let mut tell = |what: String| changes.push(Self { what, effect: Effect::NextBatch });
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
        named.iter().flat_map(|(kind, old, new)| differences(kind, old, new)).for_each(tell);
        changes
    }
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

fn differences(kind: &str, old: &Named<'_>, new: &Named<'_>) -> Vec<String> {
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

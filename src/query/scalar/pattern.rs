//! LIKE, SIMILAR TO and regular expressions as PostgreSQL matches them.

use super::fault::Fault;
use super::text::lower_char;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// LIKE: `%` is any text, `_` any one character, `escape` takes the next one as it stands.
///
/// # Errors
/// A pattern that ends with the escape character, when the text reaches it.
pub(crate) fn like(
    text: &str,
    pattern: &str,
    escape: Option<char>,
    ignore_case: bool,
) -> Result<bool, Fault> {
    let same = |one: Option<&char>, other: char| match one {
        Some(&one) if ignore_case => lower_char(one) == lower_char(other),
        one => one == Some(&other),
    };
    let text: Vec<char> = text.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    // Where to go on after a mismatch: behind the last %, one character of the text later.
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(position) {
            Some('%') if escape != Some('%') => {
                retry = Some((at, position + 1));
                position += 1;
                continue;
            }
            Some('_') if escape != Some('_') => (at < text.len()).then_some(1),
            Some(&c) if Some(c) == escape => match pattern.get(position + 1) {
                Some(&literal) => same(text.get(at), literal).then_some(2),
                None if at < text.len() => {
                    return Err(Fault::new("LIKE pattern must not end with escape character"));
                }
                None => None,
            },
            Some(&literal) => same(text.get(at), literal).then_some(1),
            None if at == text.len() => return Ok(true),
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                at += 1;
                position += length;
            }
            (None, Some((from, behind))) if from < text.len() => {
                retry = Some((from + 1, behind));
                (at, position) = (from + 1, behind);
            }
            (None, _) => return Ok(false),
        }
    }
}

/// A regular expression in the part of PostgreSQL's syntax that means the same here: literals, `.`, classes,
/// anchors, groups, alternatives, repetitions.
///
/// # Errors
/// The part that is not understood.
pub(crate) fn regex(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    if ignore_case && !pattern.is_ascii() {
        return Err("capital and small letters beyond ASCII are paired in other ways".to_owned());
    }
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        // PostgreSQL's dot matches a line break, and ^ and $ only the ends of the text.
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// The pattern with PostgreSQL's classes spelled out.
///
/// # Errors
/// What the two syntaxes read differently.
fn translate(pattern: &str) -> Result<String, String> {
    let differs = |what: &str| Err(format!("{what} means something else, or nothing, here"));
    if pattern.starts_with("***") {
        return differs("\"***\"");
    }
    let mut translated = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    let mut at_class_start = false;
    // Whether what stands before can be repeated.
    let mut repeatable = false;
    while let Some(c) = characters.next() {
        let was_class_start = std::mem::take(&mut at_class_start);
        let was_repeatable = std::mem::replace(&mut repeatable, true);
        match c {
            '\\' => {
                let Some(next) = characters.next() else { return differs("a \\ at the end") };
                match class_of(next) {
                    Some(class) if in_class => translated.push_str(class),
                    Some(class) => translated.push_str(&format!("[{class}]")),
                    None if "DSW".contains(next) && !in_class => {
                        let class = class_of(next.to_ascii_lowercase()).unwrap_or_default();
                        translated.push_str(&format!("[^{class}]"));
                    }
                    None if "nrtf".contains(next) => translated.extend(['\\', next]),
                    None if next.is_ascii_punctuation() => {
                        translated.push_str(&regex::escape(&next.to_string()))
                    }
                    None => return differs(&format!("\"\\{next}\"")),
                }
            }
            '[' if !in_class => {
                in_class = true;
                at_class_start = true;
                translated.push('[');
                if characters.peek() == Some(&'^') {
                    characters.next();
                    translated.push('^');
                }
            }
            '[' if characters.peek() == Some(&':') => {
                let mut name = String::new();
                characters.next();
                while let Some(c) = characters.next_if(|c| *c != ':') {
                    name.push(c);
                }
                let is_closed = characters.next().is_some() && characters.next() == Some(']');
                match named_class(&name) {
                    Some(class) if is_closed => translated.push_str(class),
                    _ => return differs(&format!("\"[:{name}:]\"")),
                }
            }
            '[' => return differs("\"[\" within brackets"),
            ']' if in_class && !was_class_start => {
                in_class = false;
                translated.push(']');
            }
            '&' | '~' | '-' if in_class && characters.peek() == Some(&c) => {
                return differs(&format!("\"{c}{c}\" within brackets"));
            }
            c if in_class => translated.push(c),
            '(' if characters.peek() == Some(&'?') => {
                characters.next();
                if characters.next_if_eq(&':').is_none() {
                    return differs("\"(?\"");
                }
                translated.push_str("(?:");
                repeatable = false;
            }
            '*' | '+' | '?' | '{' => {
                if !was_repeatable {
                    return differs(&format!("\"{c}\" behind nothing that repeats"));
                }
                translated.push(c);
                if c == '{' {
                    let mut bounds = String::new();
                    while let Some(c) = characters.next_if(|c| *c != '}') {
                        bounds.push(c);
                    }
                    let fits = |bound: &str| bound.is_empty() || bound.parse::<u8>().is_ok();
                    if characters.next().is_none() || bounds.starts_with(',') || !bounds.split(',').all(fits)
                    {
                        return differs(&format!("\"{{{bounds}}}\""));
                    }
                    translated.push_str(&bounds);
                    translated.push('}');
                }
                translated.extend(characters.next_if_eq(&'?'));
                repeatable = false;
            }
            c => {
                repeatable = !"^$|(".contains(c);
                translated.push(c);
            }
        }
    }
    Ok(translated)
}

/// The characters of a class by one letter, as they stand within brackets; letters beyond ASCII are Unicode's.
fn class_of(letter: char) -> Option<&'static str> {
    match letter {
        'd' => Some("0-9"),
        's' => Some(r"\t-\r "),
        'w' => Some(r"\p{Alphabetic}\p{Nd}_"),
        _ => None,
    }
}

/// The characters of `[:name:]`.
fn named_class(name: &str) -> Option<&'static str> {
    Some(match name {
        "digit" => "0-9",
        "space" => r"\t-\r ",
        "alpha" => r"\p{Alphabetic}",
        "alnum" => r"\p{Alphabetic}\p{Nd}",
        "lower" => r"\p{Lowercase}",
        "upper" => r"\p{Uppercase}",
        "blank" => r"\t ",
        "xdigit" => "0-9A-Fa-f",
        "punct" => "[:punct:]",
        _ => return None,
    })
}

/// SIMILAR TO's pattern as a regular expression over the whole text.
pub(crate) fn similar(pattern: &str, escape: Option<char>) -> Result<Regex, String> {
    let mut regex_text = String::from("^(?:");
    let mut characters = pattern.chars();
    let mut in_class = false;
    while let Some(c) = characters.next() {
        match c {
            c if Some(c) == escape => match characters.next() {
                Some(next) if next.is_alphanumeric() || next == '"' => {
                    return Err(format!("\"\\{next}\" means something else, or nothing, here"));
                }
                Some(next) => regex_text.push_str(&regex::escape(&next.to_string())),
                None => return Err("the pattern ends with its escape character".to_owned()),
            },
            '[' if !in_class => {
                in_class = true;
                regex_text.push('[');
            }
            ']' if in_class => {
                in_class = false;
                regex_text.push(']');
            }
            '\\' => regex_text.push_str("\\\\"),
            c if in_class => regex_text.push(c),
            '%' => regex_text.push_str(".*"),
            '_' => regex_text.push('.'),
            '(' => regex_text.push_str("(?:"),
            '.' | '^' | '$' => {
                regex_text.push('\\');
                regex_text.push(c);
            }
            c => regex_text.push(c),
        }
    }
    regex_text.push_str(")$");
    regex(&regex_text, false)
}

/// Whether all ways to match begin at the same place and have the same length: one class of characters,
/// repeated or not, or a literal. Otherwise PostgreSQL takes the longest alternative, others the first.
pub(crate) fn has_one_match(pattern: &str) -> bool {
    let Ok(hir) = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern) else {
        return false;
    };
    fn is_plain(hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Literal(_) | HirKind::Class(_) => true,
            HirKind::Look(_) => true,
            HirKind::Concat(parts) => parts.iter().all(is_plain),
            _ => false,
        }
    }
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            // One that may be empty is met between all characters, each library in its own way.
            repetition.greedy
                && repetition.min > 0
                && matches!(repetition.sub.kind(), HirKind::Class(_) | HirKind::Literal(_))
        }
        HirKind::Concat(parts) => {
            // ^0+ and the like: anchors around one repetition.
            let repetitions =
                parts.iter().filter(|part| matches!(part.kind(), HirKind::Repetition(_))).count();
            parts.iter().all(|part| match part.kind() {
                HirKind::Repetition(repetition) => {
                    // One that may be empty is met between all characters, each library in its own way.
                    repetition.greedy
                        && repetition.min > 0
                        && matches!(repetition.sub.kind(), HirKind::Class(_))
                }
                _ => is_plain(part),
            }) && (repetitions == 0
                || repetitions == 1
                    && parts
                        .iter()
                        .all(|part| matches!(part.kind(), HirKind::Repetition(_) | HirKind::Look(_))))
        }
        _ => is_plain(&hir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_takes_any_text_any_character_and_escapes() {
        for (text, pattern, matches) in [
            ("o-1", "o-%", true),
            ("o-1", "o-_", true),
            ("o-12", "o-_", false),
            ("", "%", true),
            ("50%", "50\\%", true),
            ("500", "50\\%", false),
            ("mississippi", "%iss%pi", true),
            ("ü", "_", true),
            ("a\nb", "a%b", true),
        ] {
            assert_eq!(like(text, pattern, Some('\\'), false), Ok(matches), "{text} LIKE {pattern}");
        }
        assert!(like("ab", "a\\", Some('\\'), false).is_err());
        assert_eq!(like("A%", "aX%", Some('X'), true), Ok(true));
    }

    #[test]
    fn similar_to_covers_the_whole_text() {
        for (text, pattern, matches) in [
            ("x-o-1-y", "o-[0-9]+", false),
            ("o-17", "o-[0-9]+", true),
            ("b", "a|b", true),
            ("ab", "a|b", false),
            ("a.b", "a.b", true),
            ("axb", "a.b", false),
            ("abc", "a%", true),
        ] {
            let regex = similar(pattern, Some('\\')).expect("a pattern");
            assert_eq!(regex.is_match(text), matches, "{text} SIMILAR TO {pattern}");
        }
    }

    #[test]
    fn what_is_read_differently_is_refused() {
        for pattern in
            ["\\yword\\y", "(?=a)", "[a&&b]", "\\1", "***=a", "a**", "a*+", "^*", "a{256}", "[[:^digit:]]"]
        {
            assert!(regex(pattern, false).is_err(), "{pattern}");
        }
        for pattern in [
            "^[A-Z]{2}[0-9]+$",
            "a|b",
            "[[:digit:]]+",
            "\\d\\s\\w",
            ".",
            "a*?b",
            "(a|b){2,3}",
            "[]a]",
            "[^-]",
            "\\.",
        ] {
            assert!(regex(pattern, false).is_ok(), "{pattern}");
        }
    }
}

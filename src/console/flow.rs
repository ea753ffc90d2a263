//! The flow picture: where all records went, since the checkpoint began.
//!
//! The layout is fixed, so that nothing jumps when numbers change. Records are drawn up to "joined", pairs behind it:
//! they are other units. Heights follow the square root of a share, so that a small flow can be seen beside a large
//! one; the labels have the exact counts.

use maud::{Markup, html};

use crate::observe::health::number;
use crate::observe::progress::BatchProgress;

/// Height of the picture's bars.
const HEIGHT: f64 = 190.0;

/// The least height of something that happened.
const LEAST: f64 = 3.0;

/// Between two nodes of a column.
const GAP: f64 = 26.0;

/// One destination of records or pairs.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) count: u64,
    pub(super) page: &'static str,
}

/// Where the records went.
pub(super) fn fates(batch: &BatchProgress) -> Vec<Node> {
    let total = &batch.total;
    let node = |name, class, count, page| Node { name, class, count, page };
    vec![
        node("joined", "valid", total.joined, "/outcomes?kind=pairs"),
        node("alone", "alone", total.unmatched, "/outcomes"),
        node("waiting", "waiting", batch.waiting(), "/query"),
        node("filtered", "filtered", total.filtered + total.tombstones, "/query"),
        node("dead letters", "dead", total.dead(), "/outcomes?kind=malformed"),
    ]
}

/// What became of the pairs.
pub(super) fn pairs(batch: &BatchProgress) -> Vec<Node> {
    let total = &batch.total;
    vec![
        Node { name: "valid", class: "valid", count: total.valid, page: "/outcomes" },
        Node { name: "rejected", class: "rejected", count: total.rejected, page: "/rules" },
    ]
}

/// Whether each record is accounted for: read, and found again.
pub(super) fn balance(batch: &BatchProgress) -> (u64, u64) {
    (batch.total.records, batch.total.settled() + batch.waiting())
}

/// Heights of a column's bars, together at most [`HEIGHT`].
fn heights(counts: &[u64]) -> Vec<f64> {
    let whole: u64 = counts.iter().sum();
    let root = |count: u64| if count == 0 { 0.0 } else { (count as f64 / whole as f64).sqrt() };
    let sum: f64 = counts.iter().map(|&count| root(count)).sum();
    counts
        .iter()
        .map(|&count| if count == 0 { 0.0 } else { (root(count) / sum * HEIGHT).max(LEAST) })
        .collect()
}

/// A band from (x1, y1, h1) to (x2, y2, h2).
fn band(from: (f64, f64, f64), to: (f64, f64, f64)) -> String {
    let ((x1, y1, h1), (x2, y2, h2)) = (from, to);
    let middle = (x1 + x2) / 2.0;
    format!(
        "M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}V{:.1}C{middle:.1} {:.1} {middle:.1} {:.1} {x1:.1} {:.1}Z",
        y2 + h2,
        y2 + h2,
        y1 + h1,
        y1 + h1
    )
}

/// A node's bar with its label, and the band that leads there; `at` is the band's upper left corner.
fn branch(node: &Node, at: (f64, f64, f64), to: (f64, f64, f64)) -> Markup {
    html! {
        @if node.count > 0 { path .band .(node.class) d=(band(at, to)) {} }
        rect .(node.class) x=(to.0) y=(format!("{:.1}", to.1)) width="10" height=(format!("{:.1}", to.2)) {}
        text x=(to.0 + 18.0) y=(format!("{:.1}", to.1 + 11.0)) {
            tspan .strong { (number(node.count)) } tspan { " " (node.name) }
        }
    }
}

/// The picture, and the same as a list.
pub(super) fn draw(batch: &BatchProgress) -> Markup {
    let (fates, pairs) = (fates(batch), pairs(batch));
    let (read, accounted) = balance(batch);
    let topics: Vec<(&String, u64)> =
        batch.total_tally.topics.iter().map(|(name, &count)| (name, count)).collect();
    let topic_heights = heights(&topics.iter().map(|(_, count)| *count).collect::<Vec<_>>());
    let fate_heights = heights(&fates.iter().map(|node| node.count).collect::<Vec<_>>());
    let pair_heights = heights(&pairs.iter().map(|node| node.count).collect::<Vec<_>>());
    let stack = |heights: &[f64], gap: f64| {
        let mut y = 18.0;
        let mut tops = Vec::new();
        for height in heights {
            tops.push(y);
            y += height + gap;
        }
        tops
    };
    let (topic_tops, split, fate_tops) =
        (stack(&topic_heights, 2.0), stack(&fate_heights, 0.0), stack(&fate_heights, GAP));
    let (pair_split, pair_tops) = (stack(&pair_heights, 0.0), stack(&pair_heights, GAP));
    let joined_height = fate_heights.first().copied().unwrap_or(0.0);
    html! {
        figure .flow {
            figcaption { strong { "Where every record went" } span .muted { " since the checkpoint began" } }
            svg viewBox="0 0 960 330" aria-hidden="true" {
                @for (((name, count), height), top) in topics.iter().zip(&topic_heights).zip(&topic_tops) {
                    rect .source x="150" y=(format!("{top:.1}")) width="10" height=(format!("{height:.1}")) {}
                    text .end x="142" y=(format!("{:.1}", top + 12.0)) { tspan .strong { (number(*count)) } }
                    text .end x="142" y=(format!("{:.1}", top + 28.0)) { tspan { (name) } }
                }
                @for (((node, height), top), at) in fates.iter().zip(&fate_heights).zip(&fate_tops).zip(&split) {
                    (branch(node, (160.0, *at, *height), (430.0, *top, *height)))
                }
                @for (((node, height), top), at) in pairs.iter().zip(&pair_heights).zip(&pair_tops).zip(&pair_split) {
                    @let share = joined_height / HEIGHT;
                    (branch(node, (560.0, 18.0 + (at - 18.0) * share, height * share), (760.0, *top, *height)))
                }
                text .muted x="160" y="10" { "records" }
                text .muted x="560" y="10" { "pairs" }
            }
            ul .flow-list {
                li { (number(read)) " records read: "
                    @for (at, (name, count)) in topics.iter().enumerate() { @if at > 0 { ", " } (number(*count)) " of " (name) } }
                @for node in &fates {
                    li { a href=(node.page) { (number(node.count)) " " (node.name) }
                        @if node.name == "joined" {
                            " into " (number(batch.total.pairs)) " pairs"
                            ul { @for node in &pairs { li { a href=(node.page) { (number(node.count)) " " (node.name) } } } }
                        }
                    }
                }
            }
            p .balance title="joined + alone + waiting + filtered + dead letters" {
                (number(read)) " in = " (number(accounted)) " accounted for "
                @if read == accounted { strong .ok-text { "✓" } } @else { strong .wrong-text { "✕" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_flow_can_be_seen_and_none_can_not() {
        let heights = heights(&[2_204_118, 92_100, 0, 1]);
        assert_eq!(heights[2], 0.0);
        assert_eq!(heights[3], LEAST);
        assert!(heights[0] > heights[1] && heights[1] > 20.0);
        assert!(heights.iter().sum::<f64>() <= HEIGHT + LEAST);
        assert_eq!(super::heights(&[0, 0]), [0.0, 0.0]);
    }
}

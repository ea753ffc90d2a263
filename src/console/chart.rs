//! Small charts over time, drawn as SVG with classes, so that the style sheet gives them the colours of the theme.
//!
//! Each is a figure with a title, a sentence that says what it shows, and its last values as a table.

use maud::{Markup, html};

use super::page::time;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 120.0;
const TOP: f64 = 14.0;

/// Values of the table below a chart.
const MAX_ROWS: usize = 30;

/// One line, or one layer of a stack.
pub(super) struct Series {
    /// For people.
    pub(super) name: String,
    /// The class of its colour.
    pub(super) class: &'static str,
    /// Time in milliseconds and value, in order; a gap where there is none.
    pub(super) points: Vec<(i64, Option<f64>)>,
}

/// How a chart is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each series.
    Lines,
    /// Bars, the series on top of each other.
    Stack,
}

/// A chart.
pub(super) struct Chart<'a> {
    /// Its heading.
    pub(super) title: &'a str,
    /// Its form.
    pub(super) form: Form,
    /// From and to, in milliseconds.
    pub(super) span: (i64, i64),
    /// The width of a bar, in milliseconds.
    pub(super) step_ms: i64,
    /// What is drawn.
    pub(super) series: Vec<Series>,
    /// How a value is written.
    pub(super) unit: fn(f64) -> String,
}

impl Chart<'_> {
    /// The figure.
    pub(super) fn draw(&self) -> Markup {
        let top = self.top();
        let sentence = self.sentence();
        html! {
            figure .chart {
                figcaption {
                    strong { (self.title) }
                    span .legend {
                        @for series in &self.series { span { span .key .(series.class) aria-hidden="true" {} (series.name) } }
                    }
                }
                svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + 16.0)) role="img" aria-label=(format!("{}. {sentence}", self.title)) {
                    line .axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                    line .grid x1="0" y1=(TOP) x2=(WIDTH) y2=(TOP) {}
                    text .label x="0" y=(TOP - 3.0) { ((self.unit)(top)) }
                    @match self.form {
                        Form::Lines => (self.lines(top)),
                        Form::Stack => (self.bars(top)),
                    }
                    text .label x="0" y=(HEIGHT + 13.0) { (clock(self.span.0)) }
                    text .label .end x=(WIDTH) y=(HEIGHT + 13.0) { (clock(self.span.1)) " UTC" }
                }
                p .sentence { (sentence) }
                (self.table())
            }
        }
    }

    fn x(&self, ms: i64) -> f64 {
        let (from, to) = self.span;
        (ms - from) as f64 / (to - from).max(1) as f64 * WIDTH
    }

    fn y(value: f64, top: f64) -> f64 {
        HEIGHT - (value / top).clamp(0.0, 1.0) * (HEIGHT - TOP)
    }

    fn in_span(&self, series: &Series) -> impl Iterator<Item = (i64, Option<f64>)> {
        let (from, to) = self.span;
        series.points.iter().copied().filter(move |(ms, _)| (from..=to).contains(ms))
    }

    /// The highest value that is drawn, never zero.
    fn top(&self) -> f64 {
        let mut stacked: std::collections::BTreeMap<i64, f64> = Default::default();
        let mut highest: f64 = 0.0;
        for series in &self.series {
            for (ms, value) in self.in_span(series) {
                let value = value.filter(|value| value.is_finite()).unwrap_or(0.0);
                let sum = stacked.entry(ms).or_default();
                *sum += value;
                highest = highest.max(match self.form {
                    Form::Lines => value,
                    Form::Stack => *sum,
                });
            }
        }
        if highest > 0.0 { highest } else { 1.0 }
    }

    fn lines(&self, top: f64) -> Markup {
        html! {
            @for series in &self.series {
                @for part in self.parts(series) {
                    @let points = part.iter().map(|&(ms, value)| format!("{:.1},{:.1}", self.x(ms), Self::y(value, top)));
                    polyline .(series.class) points=(points.collect::<Vec<_>>().join(" ")) {}
                }
            }
        }
    }

    /// The stretches of a line between its gaps.
    fn parts(&self, series: &Series) -> Vec<Vec<(i64, f64)>> {
        let mut parts: Vec<Vec<(i64, f64)>> = vec![Vec::new()];
        for (ms, value) in self.in_span(series) {
            match value.filter(|value| value.is_finite()) {
                Some(value) => {
                    if let Some(part) = parts.last_mut() {
                        part.push((ms, value));
                    }
                }
                None => parts.push(Vec::new()),
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn bars(&self, top: f64) -> Markup {
        let width = (self.step_ms as f64 / (self.span.1 - self.span.0).max(1) as f64 * WIDTH - 0.5).max(0.5);
        let mut below: std::collections::BTreeMap<i64, f64> = Default::default();
        html! {
            @for series in &self.series {
                @for (ms, value) in self.in_span(series) {
                    @let value = value.filter(|value| value.is_finite()).unwrap_or(0.0);
                    @if value > 0.0 {
                        @let from = *below.entry(ms).or_default();
                        @let (low, high) = (Self::y(from, top), Self::y(from + value, top));
                        rect .(series.class) x=(format!("{:.1}", self.x(ms))) y=(format!("{high:.1}"))
                            width=(format!("{width:.1}")) height=(format!("{:.1}", (low - high).max(0.5))) {}
                        ({ below.insert(ms, from + value); "" })
                    }
                }
            }
        }
    }

    /// `in: 1,904/s now, between 1,210/s and 2,304/s.`
    fn sentence(&self) -> String {
        let mut parts = Vec::new();
        for series in &self.series {
            let values: Vec<f64> =
                self.in_span(series).filter_map(|(_, value)| value).filter(|v| v.is_finite()).collect();
            let Some(last) = values.last() else { continue };
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let unit = self.unit;
            parts.push(format!("{}: {} now, {} to {}", series.name, unit(*last), unit(least), unit(most)));
        }
        if parts.is_empty() { "No values yet.".to_owned() } else { format!("{}.", parts.join("; ")) }
    }

    fn table(&self) -> Markup {
        let mut times: Vec<i64> =
            self.series.iter().flat_map(|series| self.in_span(series)).map(|(ms, _)| ms).collect();
        times.sort_unstable();
        times.dedup();
        let last = &times[times.len().saturating_sub(MAX_ROWS)..];
        html! {
            details id=(format!("values-{}", self.title.to_lowercase().replace(' ', "-"))) {
                summary { "Values" }
                div .scroll tabindex="0" role="region" aria-label=(format!("Values of {}", self.title)) {
                    table {
                        thead { tr { th scope="col" { "time" } @for series in &self.series { th scope="col" .right { (series.name) } } } }
                        tbody {
                            @for &ms in last.iter().rev() {
                                tr {
                                    td { (time(ms)) }
                                    @for series in &self.series {
                                        @let value = series.points.iter().find(|(at, _)| *at == ms).and_then(|(_, value)| *value);
                                        td .right { (value.map_or("–".to_owned(), self.unit)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `10:31`.
fn clock(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000).rem_euclid(1_440);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::number;

    fn chart(form: Form, points: &[(i64, Option<f64>)]) -> String {
        let series = Series { name: "in <b>".to_owned(), class: "valid", points: points.to_vec() };
        let chart = Chart {
            title: "Records a second",
            form,
            span: (0, 60_000),
            step_ms: 5_000,
            series: vec![series],
            unit: |value| format!("{}/s", number(value as u64)),
        };
        chart.draw().0
    }

    #[test]
    fn a_line_has_gaps_and_says_what_it_shows() {
        let svg = chart(
            Form::Lines,
            &[(0, Some(0.0)), (30_000, Some(1_904.0)), (40_000, None), (60_000, Some(952.0))],
        );
        assert!(svg.contains("points=\"0.0,120.0 200.0,14.0\""), "{svg}");
        assert!(svg.contains("points=\"400.0,67.0\""), "{svg}");
        assert!(svg.contains("in &lt;b&gt;: 952/s now, 0/s to 1,904/s."), "{svg}");
        assert!(!svg.contains("style="), "{svg}");
    }

    #[test]
    fn odd_values_are_gaps() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let svg = chart(Form::Lines, &[(0, Some(value)), (5_000, Some(1.0))]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(chart(Form::Stack, &[(0, Some(i64::MAX as f64))]).contains("<rect"));
        assert!(chart(Form::Stack, &[]).contains("No values yet."));
    }
}

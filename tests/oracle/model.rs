//! A second, independent model of admission, watermark, join and eviction, in plain Rust.
//!
//! It keeps every row for ever and compares each with each, so nothing that the engine's index, state
//! or eviction could get wrong is in here. Times are counted from one point: event times in seconds, the clock
//! in milliseconds.

use std::collections::BTreeMap;

/// Left 0, right 1.
pub type SideIndex = usize;

/// Side, partition.
pub type Place = (SideIndex, i32);

/// A message as it was appended.
#[derive(Clone, Debug)]
pub struct Message {
    pub side: SideIndex,
    pub partition: i32,
    /// Kafka's timestamp, for the order of arrival.
    pub timestamp_ms: i64,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// `bad`: the text that should be a number is none.
    Row {
        id: u8,
        key: Option<u8>,
        at: i64,
        amount: i64,
        bad: bool,
    },
    Malformed,
    Tombstone,
}

/// Which columns are a PRIMARY KEY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    None,
    Ids,
    /// The left table's key is the join key.
    JoinKey,
}

/// The predicate of ON beside key and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    None,
    LeftAmount,
    RightAmount,
    SameAmount,
}

/// Which times meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Bounds of right minus left event time.
    Range(i64, i64),
    /// Both lie in one minute, or hour: `date_trunc` of them is equal.
    Same { unit: &'static str, seconds: i64 },
}

impl Times {
    fn meet(self, left: i64, right: i64) -> bool {
        match self {
            Self::Range(least, greatest) => (least..=greatest).contains(&(right - left)),
            Self::Same { seconds, .. } => left.div_euclid(seconds) == right.div_euclid(seconds),
        }
    }

    /// How many whole seconds after a row of a side the last partner may come.
    fn reach(self, side: SideIndex) -> i64 {
        match self {
            Self::Range(least, greatest) => [greatest, -least][side],
            Self::Same { seconds, .. } => seconds - 1,
        }
    }

    /// Highest minus lowest bound; of two that lie just below a whole second.
    fn width(self) -> i64 {
        match self {
            Self::Range(least, greatest) => greatest - least,
            Self::Same { seconds, .. } => 2 * seconds - 1,
        }
    }
}

/// The expression of the view that fails for bad rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    None,
    /// A key of both sides.
    Key,
    /// A predicate of ON on this side alone.
    Own(SideIndex),
    /// A predicate of ON on both.
    On,
    Where,
    Select,
}

/// What a program is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    pub keeps: [bool; 2],
    pub keys: Keys,
    pub predicate: Predicate,
    /// The key is compared by IS NOT DISTINCT FROM.
    pub meets_null: bool,
    pub times: Times,
    pub fails: Fails,
    pub delay: [i64; 2],
    /// `watermark.source_idle_timeout`.
    pub source_idle: [Option<i64>; 2],
    /// The left source is read through a view with `amount <> 2`.
    pub source_view: bool,
    /// The join view has `WHERE COALESCE(l.amount, 0) + COALESCE(r.amount, 0) <> 4`.
    pub view_where: bool,
}

const IDLE_MS: i64 = 60_000;
const MAX_AHEAD_S: i64 = 3600;

/// The offsets of one partition in one batch.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub start: i64,
    pub end: i64,
    pub latest: i64,
}

/// Where a row came from: partition and offset.
pub type Origin = (i32, i64);

/// An output row: the origins of its left and right side.
pub type Joined = (Option<Origin>, Option<Origin>);

#[derive(Clone, Debug)]
pub struct Row {
    pub origin: Origin,
    pub id: u8,
    pub key: Option<u8>,
    pub at: i64,
    pub amount: i64,
    pub bad: bool,
    pub matched: bool,
    pub emitted: bool,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub joined: Vec<Joined>,
    /// Side, partition, offset, reason.
    pub letters: Vec<(SideIndex, i32, i64, &'static str)>,
}

#[derive(Debug)]
pub struct Model {
    shape: Shape,
    /// When the query was started.
    pub start_ms: i64,
    pub watermark: Option<i64>,
    maxima: BTreeMap<Place, i64>,
    last_record_ms: BTreeMap<Place, i64>,
    keys: [BTreeMap<u8, i64>; 2],
    /// Every row that was admitted and passed its source's view.
    pub rows: [Vec<Row>; 2],
    /// Every row that was admitted.
    pub admitted: [Vec<Row>; 2],
}

impl Model {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            start_ms: 0,
            watermark: None,
            maxima: BTreeMap::new(),
            last_record_ms: BTreeMap::new(),
            keys: Default::default(),
            rows: Default::default(),
            admitted: Default::default(),
        }
    }

    /// One batch over `log`, the messages of each partition from offset 0.
    pub fn batch(
        &mut self,
        time_ms: i64,
        ranges: &BTreeMap<Place, Range>,
        log: &BTreeMap<Place, Vec<Message>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let first_new = [self.rows[0].len(), self.rows[1].len()];
        for side in [0, 1] {
            self.admit(side, time_ms, ranges, log, &mut outcome);
        }
        self.advance(time_ms, ranges);
        for left in 0..self.rows[0].len() {
            for right in 0..self.rows[1].len() {
                let is_new = left >= first_new[0] || right >= first_new[1];
                if !is_new || !self.may_match(left, right) {
                    continue;
                }
                let [lefts, rights] = &mut self.rows;
                let (l, r) = (&mut lefts[left], &mut rights[right]);
                assert!(!l.emitted && !r.emitted, "a row that went alone would have matched: {l:?} {r:?}");
                let origins = (Some(l.origin), Some(r.origin));
                let is_bad = l.bad || r.bad;
                let shown = match self.shape.fails == Fails::On && is_bad {
                    // Nobody can say that it has not matched.
                    true => Show::Failed,
                    false => self.shape.shows([Some(&*l), Some(&*r)], is_bad),
                };
                // The WHERE of an inner join is part of its ON.
                if self.shape.keeps == [false, false] && shown == Show::Filtered {
                    continue;
                }
                (l.matched, r.matched) = (true, true);
                outcome.show(shown, origins);
            }
        }
        for side in [0, 1] {
            for row in 0..self.rows[side].len() {
                let is_over = !self.can_still_match(side, row);
                let row = &mut self.rows[side][row];
                if is_over && !row.matched && !row.emitted {
                    row.emitted = true;
                    if self.shape.keeps[side] {
                        let (shown, origins) = self.shape.alone(side, row);
                        outcome.show(shown, origins);
                    }
                }
            }
        }
        outcome
    }

    fn admit(
        &mut self,
        side: SideIndex,
        time_ms: i64,
        ranges: &BTreeMap<Place, Range>,
        log: &BTreeMap<Place, Vec<Message>>,
        outcome: &mut Outcome,
    ) {
        let mut arrived = Vec::new();
        for (&(of, partition), range) in ranges.iter().filter(|((of, _), _)| *of == side) {
            for offset in range.start..range.end {
                self.last_record_ms.insert((of, partition), time_ms);
                let message = &log[&(of, partition)][offset as usize];
                arrived.push((message.timestamp_ms, partition, offset, &message.body));
            }
        }
        arrived.sort_by_key(|(timestamp, partition, offset, _)| (*timestamp, *partition, *offset));
        for (_, partition, offset, body) in arrived {
            let mut letter = |reason| outcome.letters.push((side, partition, offset, reason));
            let &Body::Row { id, key, at, amount, bad } = body else {
                if matches!(body, Body::Malformed) {
                    letter("malformed");
                }
                continue;
            };
            let is_future = at * 1000 > time_ms + MAX_AHEAD_S * 1000;
            if !is_future {
                let max = self.maxima.entry((side, partition)).or_insert(at);
                *max = at.max(*max);
            }
            let is_filtered = self.shape.source_view && side == 0 && amount == 2;
            let fails = match self.shape.fails {
                Fails::Key => true,
                // A predicate that stands before guards it.
                Fails::Own(of) => of == side && self.shape.admits(side, amount),
                _ => false,
            };
            if bad && fails && !is_filtered {
                letter("malformed");
                continue;
            }
            if is_future {
                letter("future");
                continue;
            }
            if self.watermark.is_some_and(|watermark| at < watermark) {
                letter("late");
                continue;
            }
            let width = self.shape.times.width();
            let primary = match (self.shape.keys, side) {
                (Keys::None, _) => None,
                (Keys::JoinKey, 0) => key,
                _ => Some(id),
            };
            if let Some(primary) = primary {
                let known = self.keys[side].get(&primary).copied();
                if known.is_some_and(|at| self.watermark.is_none_or(|watermark| at + width >= watermark)) {
                    letter("duplicate");
                    continue;
                }
                self.keys[side].insert(primary, at);
            }
            let row =
                Row { origin: (partition, offset), id, key, at, amount, bad, matched: false, emitted: false };
            self.admitted[side].push(row.clone());
            if !is_filtered {
                self.rows[side].push(row);
            }
        }
    }

    fn advance(&mut self, time_ms: i64, ranges: &BTreeMap<Place, Range>) {
        let next = match [0, 1].map(|side| self.say(side, time_ms, ranges)) {
            [Say::At(left), Say::At(right)] => Some(left.min(right)),
            [Say::At(one), Say::Nothing] | [Say::Nothing, Say::At(one)] => Some(one),
            _ => None,
        };
        self.watermark = self.watermark.max(next);
    }

    fn say(&self, side: SideIndex, time_ms: i64, ranges: &BTreeMap<Place, Range>) -> Say {
        let silent_ms = |place: &Place| time_ms - self.last_record_ms.get(place).unwrap_or(&self.start_ms);
        let of_side = || ranges.iter().filter(|((of, _), _)| *of == side);
        let is_unread = |range: &Range| range.latest > range.end;
        if of_side().any(|(place, range)| is_unread(range) && !self.maxima.contains_key(place)) {
            return Say::Holds;
        }
        if !of_side().any(|(_, range)| is_unread(range))
            && let Some(timeout) = self.shape.source_idle[side]
        {
            // Of partitions that never had a record the query's start counts, unless another had one.
            let spoke = of_side().filter(|(place, _)| self.last_record_ms.contains_key(place));
            let silence_ms =
                spoke.map(|(place, _)| silent_ms(place)).min().unwrap_or(time_ms - self.start_ms);
            if silence_ms >= timeout * 1000 {
                return Say::Nothing;
            }
        }
        let active = of_side().filter(|(place, range)| is_unread(range) || silent_ms(place) < IDLE_MS);
        let least = active.filter_map(|(place, _)| self.maxima.get(place)).min();
        least.map_or(Say::Holds, |least| Say::At(least - self.shape.delay[side]))
    }

    fn can_match(&self, side: SideIndex, row: &Row) -> bool {
        (row.key.is_some() || self.shape.meets_null) && self.shape.admits(side, row.amount)
    }

    /// Whether all of ON holds that can't fail.
    fn may_match(&self, left: usize, right: usize) -> bool {
        let (l, r) = (&self.rows[0][left], &self.rows[1][right]);
        self.can_match(0, l)
            && self.can_match(1, r)
            && l.key == r.key
            && self.shape.times.meet(l.at, r.at)
            && (self.shape.predicate != Predicate::SameAmount || l.amount == r.amount)
    }

    fn can_still_match(&self, side: SideIndex, row: usize) -> bool {
        let row = &self.rows[side][row];
        let reach = self.shape.times.reach(side);
        let other_key_is_join_key = side == 1 && self.shape.keys == Keys::JoinKey;
        self.can_match(side, row)
            && self.watermark.is_none_or(|watermark| row.at + reach >= watermark)
            && !(row.matched && other_key_is_join_key)
    }

    /// How many rows of a side the engine should have in state.
    pub fn num_in_state(&self, side: SideIndex) -> usize {
        (0..self.rows[side].len()).filter(|&row| self.can_still_match(side, row)).count()
    }

    /// The rows that wait for a first partner, as the view would show them alone.
    pub fn waiting(&self) -> Vec<Joined> {
        let mut waiting = Vec::new();
        for side in [0, 1].into_iter().filter(|&side| self.shape.keeps[side]) {
            for row in self.rows[side].iter().filter(|row| !row.matched && !row.emitted) {
                if let (Show::Row, origins) = self.shape.alone(side, row) {
                    waiting.push(origins);
                }
            }
        }
        waiting
    }
}

/// What a source says of the watermark.
#[derive(Clone, Copy, Debug)]
enum Say {
    /// It stays where it is.
    Holds,
    /// Whatever the other source says.
    Nothing,
    /// The least of its maxima, minus the delay.
    At(i64),
}

/// What the view's WHERE and SELECT make of a pair, or of a row alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Row,
    Filtered,
    Failed,
}

impl Outcome {
    fn show(&mut self, shown: Show, origins: Joined) {
        match shown {
            Show::Row => self.joined.push(origins),
            Show::Filtered => {}
            Show::Failed => self.refuse(origins),
        }
    }

    /// A letter at the right record, else the left.
    fn refuse(&mut self, origins: Joined) {
        let (side, origin) = match origins {
            (_, Some(right)) => (1, right),
            (left, None) => (0, left.expect("a row has a record")),
        };
        self.letters.push((side, origin.0, origin.1, "refused"));
    }
}

impl Shape {
    /// The predicate of ON on a side alone.
    fn admits(&self, side: SideIndex, amount: i64) -> bool {
        match (self.predicate, side) {
            (Predicate::LeftAmount, 0) | (Predicate::RightAmount, 1) => amount > 3,
            _ => true,
        }
    }

    fn shows(&self, rows: [Option<&Row>; 2], is_bad: bool) -> Show {
        let sum: i64 = rows.into_iter().flatten().map(|row| row.amount).sum();
        let is_kept = !self.view_where || sum != 4;
        match self.fails {
            _ if !is_kept => Show::Filtered,
            Fails::Where | Fails::Select if is_bad => Show::Failed,
            _ => Show::Row,
        }
    }

    fn alone(&self, side: SideIndex, row: &Row) -> (Show, Joined) {
        let mut rows = [None, None];
        rows[side] = Some(row);
        let origins = if side == 0 { (Some(row.origin), None) } else { (None, Some(row.origin)) };
        (self.shows(rows, row.bad), origins)
    }
}

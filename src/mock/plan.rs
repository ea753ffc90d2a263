//! What is sent, when, and where it must come out: decided before anything is sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::cli::Shares;
use crate::clock::{Nanos, rfc3339};

const SECOND: Nanos = 1_000_000_000;
const MINUTE: Nanos = 60 * SECOND;

/// How late after its order a payment may be dated, so that the join still finds it.
const LATEST_PAYMENT: Nanos = 9 * MINUTE;

/// Which of the two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Orders.
    Orders,
    /// Payments.
    Payments,
}

/// What kind of record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// An order and its right payment.
    Matched,
    /// Another amount than the order's.
    Mismatch,
    /// An order without a payment.
    Unpaid,
    /// A payment without an order.
    Orphan,
    /// The same record again.
    Duplicate,
    /// A payment without an order, far below the watermark.
    Late,
    /// No row of its table.
    Malformed,
    /// A payment dated before its order.
    Early,
    /// A second right payment of an order.
    PaidTwice,
}

/// Where a record must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// In a document of `validated_orders`.
    ValidatedOrders,
    /// In a document of `rejected_payments`; an order's record comes out with its payment.
    RejectedPayments,
    /// In `unpaid_orders`, or waiting at the end.
    UnpaidOrders,
    /// In `orphan_payments`, or waiting at the end.
    OrphanPayments,
    /// In `dead_letters`.
    DeadLetters,
    /// In one of `dead_letters` and `orphan_payments`: which, depends on the batches.
    DeadLettersOrOrphanPayments,
    /// In state, without a partner.
    Waiting,
}

/// A record to send.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its topic.
    pub topic: Topic,
    /// The key: the order's id.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// Its kind.
    pub class: Class,
    /// Where it must come out.
    pub destination: Destination,
    /// The order that it belongs to.
    pub order_id: String,
    /// The payment, of a payment.
    pub payment_id: Option<String>,
    /// In hundredths.
    pub amount_cents: i64,
    /// The time in it, if it is a row.
    pub event_time: Option<Nanos>,
    /// How many orders went before.
    pub order_number: u64,
}

/// The event time of each order.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    start: Nanos,
    step: Nanos,
    end: Option<Nanos>,
    count: u64,
}

impl Timeline {
    /// `count` orders evenly over `span`, ending at `now`.
    pub fn bounded(now: Nanos, span: Duration, count: u64) -> Self {
        let span = crate::batch::watermark::nanos(span);
        Self { start: now - span, step: span / count.max(1) as i64, end: Some(now), count }
    }

    /// `rate` orders a second from `now` on.
    pub fn endless(now: Nanos, rate: u64) -> Self {
        Self { start: now, step: SECOND / rate.max(1) as i64, end: None, count: u64::MAX }
    }

    fn at(&self, number: u64) -> Nanos {
        self.start + self.step * number as i64
    }
}

/// Makes the records of a run, in the order in which they are sent.
pub struct Planner {
    random: ChaCha8Rng,
    shares: Shares,
    timeline: Timeline,
    next_order: u64,
    seed: u64,
    due: BinaryHeap<Reverse<Due>>,
    num_planned: u64,
}

/// A record that is sent when the orders have come to its time.
struct Due {
    at: Nanos,
    number: u64,
    record: Planned,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Planner {
    /// The run of `seed`.
    pub fn new(seed: u64, shares: &Shares, timeline: Timeline) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            shares: shares.clone(),
            timeline,
            next_order: 0,
            seed,
            due: BinaryHeap::new(),
            num_planned: 0,
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share.clamp(0.0, 1.0))
    }

    /// A time up to `most` after now, in whole milliseconds as the records have it.
    fn delay(&mut self, least: Nanos, most: Nanos) -> Nanos {
        self.random.random_range(least..=most.max(least))
    }

    /// Puts a record in line; duplicates follow it closely.
    fn put(&mut self, at: Nanos, record: Planned) {
        let share = self.shares.duplicate;
        if record.class != Class::Late && record.class != Class::Malformed && self.chance(share) {
            let again =
                Planned { class: Class::Duplicate, destination: Destination::DeadLetters, ..record.clone() };
            let later = at + self.delay(0, 20 * SECOND);
            self.line_up(at, record);
            self.line_up(later, again);
        } else {
            self.line_up(at, record);
        }
    }

    fn line_up(&mut self, at: Nanos, record: Planned) {
        self.num_planned += 1;
        self.due.push(Reverse(Due { at, number: self.num_planned, record }));
    }

    fn plan_order(&mut self) {
        let number = self.next_order;
        self.next_order += 1;
        let time = self.timeline.at(number);
        let order_id = format!("o-{}-{number:08}", self.seed);
        let amount = self.random.random_range(100..=50_000);
        let dice: f64 = self.random.random();
        let shares = self.shares.clone();
        let mut edge = 0.0;
        let mut falls_in = |share: f64| {
            edge += share;
            dice < edge
        };
        let class = if falls_in(shares.unpaid) {
            Class::Unpaid
        } else if falls_in(shares.mismatch) {
            Class::Mismatch
        } else if falls_in(shares.early) {
            Class::Early
        } else if falls_in(shares.paid_twice) {
            Class::PaidTwice
        } else {
            Class::Matched
        };
        let destination = match class {
            Class::Unpaid => Destination::UnpaidOrders,
            Class::Mismatch | Class::Early => Destination::RejectedPayments,
            _ => Destination::ValidatedOrders,
        };
        let order_class = if class == Class::PaidTwice { Class::Matched } else { class };
        let order = order_record(&order_id, amount, time, order_class, destination, number);
        self.put(time, order);
        // A bounded run ends now: no payment lies in the future.
        let room = self.timeline.end.map_or(LATEST_PAYMENT, |end| (end - time).clamp(0, LATEST_PAYMENT));
        match class {
            Class::Unpaid => {}
            Class::Early => {
                let paid = time - self.delay(SECOND, 4 * MINUTE);
                let payment = payment_record(&order_id, 1, amount, paid, class, destination, number);
                self.put(time, payment);
            }
            Class::PaidTwice => {
                let first = time + self.delay(0, room / 2);
                let second = first + self.delay(0, room / 2);
                let payment =
                    payment_record(&order_id, 1, amount, first, Class::Matched, destination, number);
                // A duplicate of the first may not come between the two: order within the partition is time.
                self.put(first, payment);
                let again = payment_record(
                    &order_id,
                    2,
                    amount,
                    second,
                    class,
                    Destination::RejectedPayments,
                    number,
                );
                self.put(second.max(first), again);
            }
            _ => {
                let paid = time + self.delay(0, room);
                let amount = if class == Class::Mismatch {
                    amount + self.random.random_range(1..=999)
                } else {
                    amount
                };
                // Some arrive before their order does.
                let sent = paid - self.delay(0, 30 * SECOND);
                let payment = payment_record(&order_id, 1, amount, paid, class, destination, number);
                self.put(sent, payment);
            }
        }
        self.plan_extras(time, number);
    }

    fn plan_extras(&mut self, time: Nanos, number: u64) {
        let amount = self.random.random_range(100..=50_000);
        let stranger = |kind: &str| format!("x-{}-{kind}-{number:08}", self.seed);
        let (orphan, late, malformed) = (stranger("orphan"), stranger("late"), stranger("malformed"));
        if self.chance(self.shares.orphan) {
            let record =
                payment_record(&orphan, 1, amount, time, Class::Orphan, Destination::OrphanPayments, number);
            self.put(time, record);
        }
        if self.chance(self.shares.late) {
            let long_ago = time - 60 * MINUTE - self.delay(0, 60 * MINUTE);
            let destination = Destination::DeadLettersOrOrphanPayments;
            let record = payment_record(&late, 1, amount, long_ago, Class::Late, destination, number);
            self.put(time, record);
        }
        if self.chance(self.shares.malformed) {
            let record = self.malformed_record(&malformed, amount, time, number);
            self.put(time, record);
        }
    }

    fn malformed_record(&mut self, order_id: &str, amount: i64, time: Nanos, number: u64) -> Planned {
        let class = Class::Malformed;
        let good = order_record(order_id, amount, time, class, Destination::DeadLetters, number);
        let text = String::from_utf8_lossy(&good.value).into_owned();
        let value = match self.random.random_range(0..6) {
            0 => text.as_bytes()[..text.len() / 2].to_vec(),
            1 => text.replacen("\"order_id\"", "\"orderId\"", 1).into_bytes(),
            2 => text.replacen("\"amount\":", "\"amount\":0.00", 1).into_bytes(),
            3 => text.replacen("\"order_id\":\"", "\"order_id\":\"\u{1}", 1).into_bytes(),
            4 => [b"\xff\xfe", text.as_bytes()].concat(),
            _ => Vec::new(),
        };
        Planned { value, event_time: None, ..good }
    }
}

impl Iterator for Planner {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        // An order is planned before anything that is due after its earliest record.
        const AHEAD: Nanos = 31 * SECOND;
        while self.next_order < self.timeline.count {
            let horizon = self.timeline.at(self.next_order) - AHEAD;
            match self.due.peek() {
                Some(Reverse(due)) if due.at < horizon => break,
                // An endless run sends orders when they happen.
                _ => self.plan_order(),
            }
        }
        self.due.pop().map(|Reverse(due)| Planned { order_number: self.progress(due.at), ..due.record })
    }
}

impl Planner {
    /// How many orders lie before an event time.
    fn progress(&self, at: Nanos) -> u64 {
        ((at - self.timeline.start).max(0) / self.timeline.step.max(1)) as u64
    }
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn order_record(
    order_id: &str,
    cents: i64,
    time: Nanos,
    class: Class,
    destination: Destination,
    number: u64,
) -> Planned {
    let created_at = rfc3339(time - time.rem_euclid(1_000_000));
    let value = format!(
        "{{\"order_id\":\"{order_id}\",\"order_date\":\"{}\",\"created_at\":\"{created_at}\",\"customer_id\":\"c-{:05}\",\"amount\":{}}}",
        &created_at[..10],
        number % 9973,
        money(cents),
    );
    Planned {
        topic: Topic::Orders,
        key: order_id.as_bytes().to_vec(),
        value: value.into_bytes(),
        class,
        destination,
        order_id: order_id.to_owned(),
        payment_id: None,
        amount_cents: cents,
        event_time: Some(time - time.rem_euclid(1_000_000)),
        order_number: number,
    }
}

fn payment_record(
    order_id: &str,
    which: u32,
    cents: i64,
    time: Nanos,
    class: Class,
    destination: Destination,
    number: u64,
) -> Planned {
    let created_at = rfc3339(time - time.rem_euclid(1_000_000));
    let payment_id = format!("p{which}-{order_id}");
    let value = format!(
        "{{\"payment_id\":\"{payment_id}\",\"order_id\":\"{order_id}\",\"payment_date\":\"{}\",\"created_at\":\"{created_at}\",\"amount\":{}}}",
        &created_at[..10],
        money(cents),
    );
    Planned {
        topic: Topic::Payments,
        key: order_id.as_bytes().to_vec(),
        value: value.into_bytes(),
        class,
        destination,
        order_id: order_id.to_owned(),
        payment_id: Some(payment_id),
        amount_cents: cents,
        event_time: Some(time - time.rem_euclid(1_000_000)),
        order_number: number,
    }
}

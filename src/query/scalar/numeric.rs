//! Exact numbers as PostgreSQL's `numeric` computes them.
//!
//! A number is an integer and a scale: 12.50 is 1250 at scale 2. Sums keep the larger scale, products add
//! scales, nothing is ever cut but where SQL says so (`round`, a CAST, a quotient). A quotient has at least
//! 16 significant digits, by PostgreSQL's rule: 12.50 / 3 is 4.1666666666666667, 1 / 3.0 has 20 digits.
//! Up to 38 digits an `i128` is enough; beyond them a big integer takes over, so that no step of an
//! expression overflows.

use super::fault::Fault;
use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

/// The fewest significant digits of a quotient.
const MIN_SIGNIFICANT_DIGITS: i64 = 16;
/// Digits of one of PostgreSQL's: it computes in base 10,000.
const BASE_DIGITS: i64 = 4;
/// The most fraction digits of a quotient.
pub(crate) const MAX_QUOTIENT_SCALE: u32 = 1000;

/// An exact number.
#[derive(Clone, Debug)]
pub(crate) struct Numeric {
    unscaled: Unscaled,
    scale: u32,
}

#[derive(Clone, Debug)]
enum Unscaled {
    Small(i128),
    Big(BigInt),
}

impl From<BigInt> for Unscaled {
    fn from(value: BigInt) -> Self {
        match i128::try_from(&value) {
            Ok(small) => Self::Small(small),
            Err(_) => Self::Big(value),
        }
    }
}

impl Unscaled {
    fn big(&self) -> BigInt {
        match self {
            Self::Small(value) => BigInt::from(*value),
            Self::Big(value) => value.clone(),
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Small(0))
    }

    fn is_negative(&self) -> bool {
        match self {
            Self::Small(value) => *value < 0,
            Self::Big(value) => value.sign() == Sign::Minus,
        }
    }

    fn times_ten_to(&self, power: u32) -> Self {
        if power == 0 || self.is_zero() {
            return self.clone();
        }
        if let Self::Small(value) = self
            && let Some(factor) = 10i128.checked_pow(power)
            && let Some(product) = value.checked_mul(factor)
        {
            return Self::Small(product);
        }
        (self.big() * BigInt::from(10).pow(power)).into()
    }

    /// The decimal digits of the magnitude; empty for zero.
    fn digits(&self) -> String {
        match self {
            Self::Small(0) => String::new(),
            Self::Small(value) => value.unsigned_abs().to_string(),
            Self::Big(value) => value.magnitude().to_string(),
        }
    }
}

/// What becomes of the digits that are cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// A half goes away from zero.
    HalfAwayFromZero,
    Truncate,
    Floor,
    Ceiling,
}

impl Numeric {
    /// `unscaled` / 10^`scale`.
    pub(crate) fn new(unscaled: i128, scale: u32) -> Self {
        Self { unscaled: Unscaled::Small(unscaled), scale }
    }

    /// `unscaled` / 10^`scale`, of any size.
    pub(crate) fn from_big(unscaled: BigInt, scale: u32) -> Self {
        Self { unscaled: unscaled.into(), scale }
    }

    /// `digits` / 10^`scale`; a scale below zero is one of zero, with zeros behind the digits.
    fn at_scale(digits: BigInt, scale: i64) -> Self {
        match u32::try_from(scale) {
            Ok(scale) => Self::from_big(digits, scale),
            Err(_) => Self { unscaled: Unscaled::from(digits).times_ten_to((-scale) as u32), scale: 0 },
        }
    }

    /// PostgreSQL's input: an optional sign, digits with or without a point, an exponent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if exponent.abs() > 10_000 {
            return None;
        }
        let digits = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
        let digits = if negative { -digits } else { digits };
        let scale = fraction.len() as i64 - exponent;
        Some(Self::at_scale(digits, scale))
    }

    /// As PostgreSQL takes a double precision number over: its first 15 significant digits.
    pub(crate) fn from_double(value: f64, significant: usize) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value:.*e}", significant - 1);
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
        let kept = fraction.trim_end_matches('0').len() as i64;
        let scale = kept - exponent.parse::<i64>().ok()?;
        let digits = BigInt::parse_bytes(digits.as_bytes(), 10)?;
        Some(Self::at_scale(digits, scale))
    }

    /// The nearest double.
    pub(crate) fn to_double(&self) -> f64 {
        // Rust parses to the nearest, as strtod does.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The whole part, if it fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        match self.rescale(0, Rounding::Truncate).unscaled {
            Unscaled::Small(value) => i64::try_from(value).ok(),
            Unscaled::Big(_) => None,
        }
    }

    /// How many fraction digits are shown.
    pub(crate) fn scale(&self) -> u32 {
        self.scale
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.unscaled.is_zero()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.unscaled.is_negative()
    }

    /// The value at `scale`, cut or filled.
    pub(crate) fn rescale(&self, scale: u32, rounding: Rounding) -> Self {
        if scale >= self.scale {
            return Self { unscaled: self.unscaled.times_ten_to(scale - self.scale), scale };
        }
        let cut = self.scale - scale;
        if let (Unscaled::Small(value), Some(factor)) = (&self.unscaled, 10i128.checked_pow(cut)) {
            let (quotient, rest) = (value / factor, value % factor);
            let up = match rounding {
                Rounding::Truncate => false,
                Rounding::HalfAwayFromZero => rest.unsigned_abs() >= factor.unsigned_abs().div_ceil(2),
                Rounding::Floor => rest < 0,
                Rounding::Ceiling => rest > 0,
            };
            return Self { unscaled: Unscaled::Small(quotient + away_from_zero(up, *value < 0)), scale };
        }
        let factor = BigInt::from(10).pow(cut);
        let value = self.unscaled.big();
        let (quotient, rest) = (&value / &factor, &value % &factor);
        let negative = value.sign() == Sign::Minus;
        let up = match rounding {
            Rounding::Truncate => false,
            Rounding::HalfAwayFromZero => BigInt::from(rest.magnitude().clone()) * 2 >= factor,
            Rounding::Floor => rest.sign() == Sign::Minus,
            Rounding::Ceiling => rest.sign() == Sign::Plus,
        };
        Self::from_big(quotient + away_from_zero(up, negative), scale)
    }

    /// `round(x, places)` and `trunc(x, places)`: negative places cut before the point.
    pub(crate) fn round_to(&self, places: i64, rounding: Rounding) -> Self {
        let places = places.clamp(-16_383, 16_383);
        match u32::try_from(places) {
            Ok(places) => self.rescale(places, rounding),
            Err(_) => {
                // 1234 to −2: 12.34 rounded to 0 places, times 100.
                let power = (-places) as u32;
                let shifted = Self { unscaled: self.unscaled.clone(), scale: self.scale + power };
                let whole = shifted.rescale(0, rounding);
                Self { unscaled: whole.unscaled.times_ten_to(power), scale: 0 }
            }
        }
    }

    /// As `DECIMAL(precision, scale)` holds it, rounded to its scale.
    pub(crate) fn to_decimal(&self, precision: u32, scale: u32) -> Result<Self, Fault> {
        let rounded = self.rescale(scale, Rounding::HalfAwayFromZero);
        if rounded.unscaled.digits().len() > precision as usize {
            return Err(Fault::new(format!(
                "numeric field overflow: {self} is no DECIMAL({precision}, {scale})"
            )));
        }
        Ok(rounded)
    }

    /// The unscaled value at `scale`, if it has at most 38 digits and needs no rounding.
    pub(crate) fn exactly_at(&self, scale: u32) -> Option<i128> {
        let rescaled = self.rescale(scale, Rounding::Truncate);
        if rescaled.compare(self) != Ordering::Equal {
            return None;
        }
        match rescaled.unscaled {
            Unscaled::Small(value) if value.unsigned_abs() < 10u128.pow(38) => Some(value),
            _ => None,
        }
    }

    fn aligned(&self, other: &Self) -> (Unscaled, Unscaled, u32) {
        let scale = self.scale.max(other.scale);
        let left = self.unscaled.times_ten_to(scale - self.scale);
        let right = other.unscaled.times_ten_to(scale - other.scale);
        (left, right, scale)
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match self.aligned(other) {
            (Unscaled::Small(left), Unscaled::Small(right), _) => left.cmp(&right),
            (left, right, _) => left.big().cmp(&right.big()),
        }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        let (left, right, scale) = self.aligned(other);
        if let (Unscaled::Small(left), Unscaled::Small(right)) = (&left, &right)
            && let Some(sum) = left.checked_add(*right)
        {
            return Self::new(sum, scale);
        }
        Self::from_big(left.big() + right.big(), scale)
    }

    pub(crate) fn negate(&self) -> Self {
        if let Unscaled::Small(value) = self.unscaled
            && let Some(negated) = value.checked_neg()
        {
            return Self::new(negated, self.scale);
        }
        Self::from_big(-self.unscaled.big(), self.scale)
    }

    pub(crate) fn abs(&self) -> Self {
        if self.is_negative() { self.negate() } else { self.clone() }
    }

    pub(crate) fn subtract(&self, other: &Self) -> Self {
        self.add(&other.negate())
    }

    pub(crate) fn multiply(&self, other: &Self) -> Self {
        let scale = self.scale + other.scale;
        if let (Unscaled::Small(left), Unscaled::Small(right)) = (&self.unscaled, &other.unscaled)
            && let Some(product) = left.checked_mul(*right)
        {
            return Self::new(product, scale);
        }
        Self::from_big(self.unscaled.big() * other.unscaled.big(), scale)
    }

    /// The quotient at PostgreSQL's scale.
    pub(crate) fn divide(&self, other: &Self) -> Result<Self, Fault> {
        if other.is_zero() {
            return Err(Fault::division_by_zero());
        }
        let scale = self.quotient_scale(other);
        // (a / 10^s) / (b / 10^t) at scale r, rounded: a × 10^(r + t − s) / b.
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        let (mut numerator, mut denominator) = (self.unscaled.big(), other.unscaled.big());
        match u32::try_from(shift) {
            Ok(shift) => numerator *= BigInt::from(10).pow(shift),
            Err(_) => denominator *= BigInt::from(10).pow((-shift) as u32),
        }
        let (quotient, rest) = (&numerator / &denominator, &numerator % &denominator);
        let half =
            BigInt::from(rest.magnitude().clone()) * 2 >= BigInt::from(denominator.magnitude().clone());
        let negative = self.is_negative() != other.is_negative();
        Ok(Self::from_big(quotient + away_from_zero(half, negative), scale))
    }

    /// PostgreSQL's `select_div_scale`.
    fn quotient_scale(&self, other: &Self) -> u32 {
        let (weight, first) = self.leading();
        let (other_weight, other_first) = other.leading();
        let mut quotient_weight = weight - other_weight;
        if first <= other_first {
            quotient_weight -= 1;
        }
        let scale = MIN_SIGNIFICANT_DIGITS - quotient_weight * BASE_DIGITS;
        let scale = scale.max(i64::from(self.scale)).max(i64::from(other.scale)).max(0);
        scale.min(i64::from(MAX_QUOTIENT_SCALE)) as u32
    }

    /// In base 10,000: the exponent of the first digit that is not zero, and that digit.
    fn leading(&self) -> (i64, i64) {
        let digits = self.unscaled.digits();
        if digits.is_empty() {
            return (0, 0);
        }
        // The decimal exponent of the first digit: 0 for 1 to 9.99, −2 for 0.01.
        let exponent = digits.len() as i64 - 1 - i64::from(self.scale);
        let weight = exponent.div_euclid(BASE_DIGITS);
        let length = (exponent.rem_euclid(BASE_DIGITS) + 1) as usize;
        let first = format!("{digits:0<4}")[..length].parse().unwrap_or(0);
        (weight, first)
    }

    /// What is left of a division that counts whole times; it has the sign of `self`.
    pub(crate) fn remainder(&self, other: &Self) -> Result<Self, Fault> {
        if other.is_zero() {
            return Err(Fault::division_by_zero());
        }
        let (left, right, scale) = self.aligned(other);
        if let (Unscaled::Small(left), Unscaled::Small(right)) = (&left, &right) {
            return Ok(Self::new(left.checked_rem(*right).unwrap_or(0), scale));
        }
        Ok(Self::from_big(left.big() % right.big(), scale))
    }
}

/// What is added to a number that was cut, if it is rounded `up` in magnitude.
fn away_from_zero(up: bool, negative: bool) -> i128 {
    match (up, negative) {
        (false, _) => 0,
        (true, true) => -1,
        (true, false) => 1,
    }
}

impl fmt::Display for Numeric {
    /// With all digits of its scale, never an exponent: `12.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.scale as usize;
        let digits = format!("{:0>width$}", self.unscaled.digits(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        if self.is_negative() {
            f.write_str("-")?;
        }
        f.write_str(whole)?;
        if scale > 0 { write!(f, ".{fraction}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Numeric {
        Numeric::parse(text).expect("a number")
    }

    /// Values of `SELECT a / b` in PostgreSQL 15.
    #[test]
    fn quotients_have_the_digits_of_postgresql() {
        for (left, right, quotient) in [
            ("12.50", "3", "4.1666666666666667"),
            ("1", "3.0", "0.33333333333333333333"),
            ("0.01", "30000", "0.000000333333333333333333"),
            ("10.00", "4", "2.5000000000000000"),
            ("-1", "3.00", "-0.33333333333333333333"),
            ("0", "3.00", "0.00000000000000000000"),
        ] {
            assert_eq!(number(left).divide(&number(right)).expect("divides").to_string(), quotient);
        }
    }

    #[test]
    fn rounding_goes_away_from_zero_and_before_the_point() {
        for (text, places, rounded) in
            [("2.5", 0, "3"), ("-2.5", 0, "-3"), ("1.005", 2, "1.01"), ("1250", -2, "1300"), ("49", -2, "0")]
        {
            assert_eq!(number(text).round_to(places, Rounding::HalfAwayFromZero).to_string(), rounded);
        }
        assert_eq!(number("-9.9").rescale(0, Rounding::Ceiling).to_string(), "-9");
        assert_eq!(number("-9.1").rescale(0, Rounding::Floor).to_string(), "-10");
    }

    #[test]
    fn nothing_overflows_beyond_38_digits() {
        let large = number("99999999999999999999999999999999999999");
        assert_eq!(
            large.multiply(&large).to_string(),
            "9999999999999999999999999999999999999800000000000000000000000000000000000001"
        );
        assert_eq!(large.add(&large).to_string(), "199999999999999999999999999999999999998");
    }

    #[test]
    fn a_double_is_taken_over_with_fifteen_digits() {
        for (value, text) in [(0.1, "0.1"), (1e-7, "0.0000001"), (123_456_789.123_456_78, "123456789.123457")]
        {
            assert_eq!(Numeric::from_double(value, 15).expect("finite").to_string(), text);
        }
    }
}

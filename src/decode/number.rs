//! Numbers from their JSON text, exactly or not at all.

/// Why a text is not a number of the wanted type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    /// It is not written as JSON writes numbers.
    Syntax,
    /// It has digits below the smallest unit of the type.
    Inexact,
    /// It has more digits than the type.
    TooLarge,
}

/// The number `text` as a whole number of 10^-`scale`, with at most `precision` digits.
///
/// `1e2` and `12.500` are numbers like others; `12.505` is no number of scale 2. `precision` is at most 38.
pub(super) fn scaled(text: &str, precision: u8, scale: i8) -> Result<i128, NumberError> {
    let parts = Parts::parse(text).ok_or(NumberError::Syntax)?;
    let digits = parts.whole.iter().chain(parts.fraction).copied();
    let mut value: i128 = 0;
    let mut num_digits: i64 = 0;
    // Zeros are counted and only multiplied in when a digit follows, so that trailing ones cost nothing.
    let mut pending_zeros: i64 = 0;
    for digit in digits {
        if digit == b'0' {
            pending_zeros += i64::from(num_digits > 0);
            continue;
        }
        num_digits += pending_zeros + 1;
        if num_digits > 38 {
            // Which of the two it is depends on where the last digit stands.
            return Err(if parts.lowest_digit_exponent() < -i64::from(scale) {
                NumberError::Inexact
            } else {
                NumberError::TooLarge
            });
        }
        for _ in 0..=pending_zeros {
            value *= 10;
        }
        value += i128::from(digit - b'0');
        pending_zeros = 0;
    }
    if value == 0 {
        return Ok(0);
    }
    let exponent = parts.lowest_digit_exponent().saturating_add(pending_zeros);
    let shift = exponent.saturating_add(i64::from(scale));
    if shift < 0 {
        return Err(NumberError::Inexact);
    }
    if num_digits.saturating_add(shift) > i64::from(precision) {
        return Err(NumberError::TooLarge);
    }
    for _ in 0..shift {
        value *= 10;
    }
    Ok(if parts.negative { -value } else { value })
}

/// A JSON number taken apart: sign, digits before and after the point, exponent.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, rest) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, bytes),
        };
        let (whole, rest) = split_digits(rest);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', rest)) => {
                let (fraction, rest) = split_digits(rest);
                if fraction.is_empty() {
                    return None;
                }
                (fraction, rest)
            }
            _ => (&[][..], rest),
        };
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', rest)) => parse_exponent(rest)?,
            Some(_) => return None,
        };
        Some(Self { negative, whole, fraction, exponent })
    }

    /// The power of ten at which the last written digit stands.
    fn lowest_digit_exponent(&self) -> i64 {
        self.exponent.saturating_sub(self.fraction.len() as i64)
    }
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    let (digits, rest) = split_digits(digits);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::NumberError::{Inexact, Syntax, TooLarge};
    use super::scaled;

    #[test]
    fn money_is_exact_or_refused() {
        let cases = [
            ("12.34", Ok(1234)),
            ("12.3", Ok(1230)),
            ("12", Ok(1200)),
            ("-0.00", Ok(0)),
            ("-5.25", Ok(-525)),
            ("1e2", Ok(10_000)),
            ("1.5E+1", Ok(1500)),
            ("1200e-2", Ok(1200)),
            ("12.500", Ok(1250)),
            ("100", Ok(10_000)),
            ("99999999.99", Ok(9_999_999_999)),
            ("12.505", Err(Inexact)),
            ("1e-30", Err(Inexact)),
            ("1e-40000", Err(Inexact)),
            ("100000000.00", Err(TooLarge)),
            ("1e40000", Err(TooLarge)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("0e99999999999999999999", Ok(0)),
            ("", Err(Syntax)),
            ("-", Err(Syntax)),
            ("+1", Err(Syntax)),
            (".5", Err(Syntax)),
            ("5.", Err(Syntax)),
            ("05", Err(Syntax)),
            ("1e", Err(Syntax)),
            ("1 ", Err(Syntax)),
            ("12,50", Err(Syntax)),
            ("NaN", Err(Syntax)),
            ("0x10", Err(Syntax)),
        ];
        for (text, expected) in cases {
            assert_eq!(scaled(text, 10, 2), expected, "{text}");
        }
        assert_eq!(scaled(&"1".repeat(400), 38, 2), Err(TooLarge));
        assert_eq!(scaled(&format!("0.{}", "1".repeat(400)), 38, 2), Err(Inexact));
        assert_eq!(scaled(&"9".repeat(38), 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(scaled("1.9", 19, 0), Err(Inexact));
    }
}

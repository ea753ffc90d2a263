//! Exact numbers in BSON: Decimal128 has 34 digits, DECIMAL up to 38.
//!
//! What counts is the value: 38 digits of which the last are zeros behind the point may fit. One that does
//! not is a row that MongoDB can't hold, wherever in the document it stands; it is never rounded.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type};
use bson::Decimal128;

use crate::sink::{Refusal, RefusalReason};

/// The digits of a Decimal128.
const MAX_DIGITS: u32 = 34;

/// `unscaled` × 10^−`scale` in the binary integer form of IEEE 754: sign, exponent + 6176, coefficient.
///
/// `None` if it takes more than 34 digits; those that do fit the 113 bits of the coefficient.
pub(super) fn decimal128(unscaled: i128, scale: i8) -> Option<Decimal128> {
    let (mut coefficient, mut scale) = (unscaled.unsigned_abs(), i128::from(scale));
    while coefficient >= 10u128.pow(MAX_DIGITS) {
        if scale <= 0 || !coefficient.is_multiple_of(10) {
            return None;
        }
        coefficient /= 10;
        scale -= 1;
    }
    let sign = if unscaled < 0 { 1u128 << 127 } else { 0 };
    let exponent = (6176 - scale) as u128;
    Some(Decimal128::from_bytes((sign | (exponent << 113) | coefficient).to_le_bytes()))
}

/// The rows with a number that no Decimal128 holds, at any depth of lists and structs.
pub(super) fn too_long(rows: &RecordBatch) -> Vec<Refusal> {
    let schema = rows.schema();
    let wide: Vec<usize> =
        (0..rows.num_columns()).filter(|&column| is_wide(schema.field(column).data_type())).collect();
    let mut refusals = Vec::new();
    for row in (0..rows.num_rows()).filter(|_| !wide.is_empty()) {
        let found = wide.iter().find_map(|&column| {
            let number = number_too_long(rows.column(column).as_ref(), row)?;
            Some(format!(
                "the number {number} in \"{}\" has more than the {MAX_DIGITS} digits of MongoDB's Decimal128",
                schema.field(column).name()
            ))
        });
        refusals.extend(found.map(|error| Refusal { row, reason: RefusalReason::Refused, error }));
    }
    refusals
}

/// Whether a type has numbers that may be too long.
fn is_wide(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(precision, _) => u32::from(*precision) > MAX_DIGITS,
        DataType::List(item) => is_wide(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_wide(field.data_type())),
        _ => false,
    }
}

fn number_too_long(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let numbers = array.as_primitive::<Decimal128Type>();
            match decimal128(numbers.value(row), *scale) {
                Some(_) => None,
                None => Some(numbers.value_as_string(row)),
            }
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).find_map(|item| number_too_long(items.as_ref(), item))
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().find_map(|column| number_too_long(column.as_ref(), row))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decimal128;

    #[test]
    fn decimals_keep_digits_and_scale() {
        for (unscaled, scale, text) in [
            (1234, 2, "12.34"),
            (1250, 2, "12.50"),
            (-1, 2, "-0.01"),
            (0, 2, "0.00"),
            (7, 0, "7"),
            (10i128.pow(34) - 1, 4, "999999999999999999999999999999.9999"),
            (-125 * 10i128.pow(35), 36, "-12.50000000000000000000000000000000"),
        ] {
            assert_eq!(decimal128(unscaled, scale).expect("fits").to_string(), text);
        }
    }

    #[test]
    fn a_number_of_35_digits_has_no_decimal128() {
        assert_eq!(decimal128(10i128.pow(34) + 1, 2), None);
        assert_eq!(decimal128(-(10i128.pow(37)), 0), None);
    }
}

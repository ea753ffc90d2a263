//! Rows as BSON documents, `_id` first, and documents by their `_id`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use bson::{Bson, DateTime};

use crate::clock::NANOS_PER_MS;
use crate::error::{Error, Result};
use crate::query::scalar::timestamp_nanos;
use crate::sink::decimal::{decimal128, too_long};
use crate::sink::json::unsupported;
use crate::sink::{DocumentIds, OutputRows, Refusal, RefusalReason};

/// The largest document that MongoDB stores.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// The documents of `rows` with their row numbers, and the rows that are too large or have too long a number.
pub(super) fn documents(rows: &OutputRows) -> Result<(Vec<RawDocumentBuf>, Vec<usize>, Vec<Refusal>)> {
    let (mut documents, mut numbers) = (Vec::new(), Vec::new());
    let mut refusals = too_long(&rows.rows);
    let refused: BTreeSet<usize> = refusals.iter().map(|refusal| refusal.row).collect();
    for row in (0..rows.rows.num_rows()).filter(|row| !refused.contains(row)) {
        let document = document(rows, row)?;
        let bytes = document.as_bytes().len();
        if bytes > MAX_DOCUMENT_BYTES {
            let error = format!("the document has {bytes} bytes, more than {MAX_DOCUMENT_BYTES}");
            refusals.push(Refusal { row, reason: RefusalReason::Refused, error });
        } else {
            documents.push(document);
            numbers.push(row);
        }
    }
    Ok((documents, numbers, refusals))
}

pub(super) fn id_of(document: &RawDocumentBuf) -> Option<Bson> {
    document.get("_id").ok()??.try_into().ok()
}

/// The `_id` with its type, comparable.
pub(super) fn id_bytes(document: &RawDocumentBuf) -> Option<Vec<u8>> {
    let mut id = RawDocumentBuf::new();
    id.append(bson::cstr!("_id"), document.get("_id").ok()??.to_owned());
    Some(id.into_bytes())
}

/// A row whose `_id` another document has.
pub(super) fn conflict(row: usize) -> Refusal {
    Refusal { row, reason: RefusalReason::Conflict, error: "another document has that _id".to_owned() }
}

/// Of documents with one `_id` the first, as an insert would have it: equal ones are the same, others are
/// in conflict. A transaction can't tell by what is stored, since nothing of it is.
pub(super) fn first_of_each_id(
    documents: Vec<RawDocumentBuf>,
    numbers: Vec<usize>,
) -> (Vec<RawDocumentBuf>, Vec<usize>, Vec<Refusal>) {
    let mut first: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut kept, mut kept_numbers, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for (document, number) in documents.into_iter().zip(numbers) {
        let known = id_bytes(&document).and_then(|id| match first.entry(id) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(kept.len());
                None
            }
        });
        match known {
            Some(at) if kept[at] == document => {}
            Some(_) => conflicts.push(conflict(number)),
            None => {
                kept.push(document);
                kept_numbers.push(number);
            }
        }
    }
    (kept, kept_numbers, conflicts)
}

/// One row as a document, `_id` first.
fn document(output: &OutputRows, row: usize) -> Result<RawDocumentBuf> {
    let id = match &output.ids {
        DocumentIds::Derived(ids) => RawBson::String(ids[row].clone()),
        DocumentIds::Columns(columns) => match columns.as_slice() {
            [column] => value(output.rows.column(*column).as_ref(), row)?,
            columns => {
                let mut id = RawDocumentBuf::new();
                append_fields(&mut id, &output.rows, columns.iter().copied(), row)?;
                RawBson::Document(id)
            }
        },
    };
    let mut document = RawDocumentBuf::new();
    document.append(bson::cstr!("_id"), id);
    append_fields(&mut document, &output.rows, 0..output.rows.num_columns(), row)?;
    Ok(document)
}

fn append_fields(
    into: &mut RawDocumentBuf,
    rows: &RecordBatch,
    columns: impl Iterator<Item = usize>,
    row: usize,
) -> Result<()> {
    for column in columns {
        let schema = rows.schema();
        let name = schema.field(column).name();
        let name = CString::try_from(name.as_str())
            .map_err(|_| Error::config(format!("\"{name}\" can't be a field's name")))?;
        into.append(name, value(rows.column(column).as_ref(), row)?);
    }
    Ok(())
}

fn value(array: &dyn Array, row: usize) -> Result<RawBson> {
    if array.is_null(row) {
        return Ok(RawBson::Null);
    }
    let binary = |bytes: &[u8]| {
        RawBson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.to_vec() })
    };
    Ok(match array.data_type() {
        DataType::Null => RawBson::Null,
        DataType::Boolean => RawBson::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => RawBson::Int32(i32::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => RawBson::Int32(i32::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => RawBson::Int32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => RawBson::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => RawBson::Int32(i32::from(array.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => RawBson::Int32(i32::from(array.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => RawBson::Int64(i64::from(array.as_primitive::<UInt32Type>().value(row))),
        DataType::UInt64 => number(i128::from(array.as_primitive::<UInt64Type>().value(row)), 0)?,
        DataType::Float32 => RawBson::Double(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => RawBson::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => number(array.as_primitive::<Decimal128Type>().value(row), *scale)?,
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            RawBson::DateTime(DateTime::from_millis(days * 86_400_000))
        }
        DataType::Timestamp(unit, _) => {
            let millis = timestamp_nanos(array, *unit, row).div_euclid(i128::from(NANOS_PER_MS));
            let millis = millis.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            RawBson::DateTime(DateTime::from_millis(millis as i64))
        }
        DataType::Utf8 => RawBson::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => RawBson::String(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => RawBson::String(array.as_string_view().value(row).to_owned()),
        DataType::Binary => binary(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => binary(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => binary(array.as_binary_view().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let mut list = RawArrayBuf::new();
            for item in 0..items.len() {
                list.push(value(items.as_ref(), item)?);
            }
            RawBson::Array(list)
        }
        DataType::Struct(_) => {
            let fields = RecordBatch::from(array.as_struct().slice(row, 1));
            let mut document = RawDocumentBuf::new();
            append_fields(&mut document, &fields, 0..fields.num_columns(), 0)?;
            RawBson::Document(document)
        }
        other => return Err(unsupported(other)),
    })
}

/// An exact number; rows with one that is too long were left out before.
fn number(unscaled: i128, scale: i8) -> Result<RawBson> {
    decimal128(unscaled, scale)
        .map(RawBson::Decimal128)
        .ok_or_else(|| Error::internal("a number of more than 34 digits was to be stored"))
}

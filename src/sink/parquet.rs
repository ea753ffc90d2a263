//! Rows as a Parquet file that others read: Spark, DuckDB, pandas.
//!
//! `_id` first, then the fields, as in every sink. A TIMESTAMP is microseconds in UTC, rounded down: Spark
//! reads no nanoseconds, and a time without a zone means local time to some readers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::query::output::Compression;
use crate::query::scalar::timestamp_nanos;
use crate::sink::{DocumentIds, OutputRows};

/// The time zone of all times.
const UTC: &str = "UTC";

/// Nanoseconds of a microsecond.
const NANOS_PER_MICRO: i128 = 1_000;

/// One file.
pub(super) fn bytes(rows: &OutputRows, compression: Compression) -> Result<Vec<u8>> {
    let fail = |source: parquet::errors::ParquetError| Error::internal("Parquet failed").because(source);
    let codec = match compression {
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Snappy => Codec::SNAPPY,
        Compression::None | Compression::Gzip => Codec::UNCOMPRESSED,
    };
    let properties = WriterProperties::builder().set_compression(codec).build();
    let rows = table(rows)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).map_err(fail)?;
    writer.write(&rows).map_err(fail)?;
    writer.close().map_err(fail)?;
    Ok(bytes)
}

/// The columns of the file.
fn table(output: &OutputRows) -> Result<RecordBatch> {
    let schema = output.rows.schema();
    let fields = schema.fields().iter();
    let converted = fields.zip(output.rows.columns()).map(|(field, column)| convert(field, column));
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) =
        converted.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let (id_type, id): (DataType, ArrayRef) = match &output.ids {
        DocumentIds::Derived(ids) => (DataType::Utf8, Arc::new(StringArray::from_iter_values(ids))),
        DocumentIds::Columns(at) => match at.as_slice() {
            [column] => (fields[*column].data_type().clone(), Arc::clone(&columns[*column])),
            at => {
                let of_id: Fields = at.iter().map(|&column| Arc::clone(&fields[column])).collect();
                let arrays = at.iter().map(|&column| Arc::clone(&columns[column])).collect();
                let id = StructArray::try_new(of_id.clone(), arrays, None)?;
                (DataType::Struct(of_id), Arc::new(id))
            }
        },
    };
    fields.insert(0, Arc::new(Field::new("_id", id_type, false)));
    columns.insert(0, id);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// A column with its times in microseconds, at any depth.
fn convert(field: &FieldRef, column: &ArrayRef) -> Result<(FieldRef, ArrayRef)> {
    let column: ArrayRef = match column.data_type() {
        DataType::Timestamp(unit, _) => {
            let micros = |row: usize| {
                let nanos = (!column.is_null(row)).then(|| timestamp_nanos(column.as_ref(), *unit, row))?;
                i64::try_from(nanos.div_euclid(NANOS_PER_MICRO)).ok()
            };
            let micros: TimestampMicrosecondArray = (0..column.len()).map(micros).collect();
            Arc::new(micros.with_timezone(UTC))
        }
        DataType::List(item) => {
            let list = column.as_list::<i32>();
            let (item, values) = convert(item, list.values())?;
            Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        DataType::Struct(_) => {
            let parts = column.as_struct();
            let converted =
                parts.fields().iter().zip(parts.columns()).map(|(field, column)| convert(field, column));
            let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) =
                converted.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            Arc::new(StructArray::try_new(fields.into(), columns, parts.nulls().cloned())?)
        }
        _ => Arc::clone(column),
    };
    let field = field.as_ref().clone().with_data_type(column.data_type().clone());
    Ok((Arc::new(field), column))
}

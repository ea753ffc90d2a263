//! The rows of a reference file, by the names and types that its table declares.
//!
//! A file that does not fit is refused with the line: a value is held exactly by its type, as one of a
//! record would be, and a column is found by its name, never by chance.
//!
//! * CSV: a header names the columns in any order; each declared column is in it, and no other. Without one
//!   the fields stand in the order of the table. An empty field is NULL, in quotes or not.
//! * JSON: one object a line, read as a record is; names that are not declared are ignored.
//! * Parquet: the columns have the declared types; others are ignored.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::value::RawValue;

use crate::batch::offset::TopicPartition;
use crate::decode::{Decoder, type_name};
use crate::error::Error;
use crate::source::Records;

/// Why a file is refused: where in it, and what is wrong.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// The place in the file, where there is one, and what is wrong.
    Of(Option<String>, String),
    /// No fault of the file.
    Failed(Error),
}

/// Rows that are decoded together.
const CHUNK_ROWS: usize = 8192;

type Fitting<T> = std::result::Result<T, Misfit>;

impl From<Error> for Misfit {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<arrow::error::ArrowError> for Misfit {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Failed(error.into())
    }
}

fn misfit<T>(place: impl Into<Option<String>>, problem: impl Into<String>) -> Fitting<T> {
    Err(Misfit::Of(place.into(), problem.into()))
}

fn line(number: u64) -> String {
    format!("line {number}")
}

/// How a CSV file is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CsvFormat {
    pub(crate) has_header: bool,
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) escape: Option<u8>,
    pub(crate) double_quote: bool,
    pub(crate) comment: Option<u8>,
}

/// The rows of a CSV file.
pub(crate) fn csv_rows(bytes: &[u8], schema: &SchemaRef, format: CsvFormat) -> Fitting<RecordBatch> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(format.delimiter)
        .quote(format.quote)
        .escape(format.escape)
        .double_quote(format.double_quote)
        .comment(format.comment)
        .from_reader(bytes);
    let num_columns = schema.fields().len();
    let mut order: Option<Vec<usize>> = (!format.has_header).then(|| (0..num_columns).collect());
    let mut batches = Vec::new();
    let mut chunk = Chunk::new(schema)?;
    for record in reader.byte_records() {
        let record = record.map_err(|error| Misfit::Of(None, error.to_string()))?;
        let at = record.position().map_or(0, csv::Position::line);
        let fields = record.iter().map(std::str::from_utf8).collect::<std::result::Result<Vec<&str>, _>>();
        let Ok(fields) = fields else { return misfit(line(at), "it is not UTF-8") };
        let Some(order) = &order else {
            order = Some(columns_of_header(&fields, schema).or_else(|problem| misfit(line(at), problem))?);
            continue;
        };
        if fields.len() != num_columns {
            return misfit(line(at), format!("{} fields, the table has {num_columns}", fields.len()));
        }
        let texts = schema.fields().iter().zip(order).map(|(field, &at)| json_text(field, fields[at]));
        chunk.rows.push(texts.collect());
        chunk.lines.push(at);
        if chunk.rows.len() == CHUNK_ROWS {
            batches.push(chunk.decode()?);
        }
    }
    if order.is_none() && num_columns > 0 {
        return misfit(None, "the header is missing");
    }
    batches.push(chunk.decode()?);
    Ok(arrow::compute::concat_batches(schema, &batches)?)
}

/// Rows on their way from a file: their JSON texts take more room than what they become.
struct Chunk {
    decoder: Decoder,
    rows: Vec<Vec<String>>,
    /// The line that each begins in.
    lines: Vec<u64>,
}

impl Chunk {
    fn new(schema: &SchemaRef) -> Fitting<Self> {
        let decoder = Decoder::try_new(Arc::clone(schema), None, usize::MAX)?;
        Ok(Self { decoder, rows: Vec::new(), lines: Vec::new() })
    }

    fn decode(&mut self) -> Fitting<RecordBatch> {
        let (rows, lines) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.lines));
        self.decoder.decode_texts(&rows)?.or_else(|(row, problem)| misfit(line(lines[row]), problem))
    }
}

/// For each declared column the place of its field. A name may differ in case and in what joins its words.
fn columns_of_header(header: &[&str], schema: &SchemaRef) -> std::result::Result<Vec<usize>, String> {
    let plain = |name: &str| -> String {
        name.chars().filter(|c| !"_- ".contains(*c)).flat_map(char::to_lowercase).collect()
    };
    let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    let mut order = Vec::new();
    for field in schema.fields() {
        let exact: Vec<usize> = (0..header.len()).filter(|&at| header[at] == field.name()).collect();
        let similar: Vec<usize> =
            (0..header.len()).filter(|&at| plain(header[at]) == plain(field.name())).collect();
        let found = if exact.is_empty() { similar } else { exact };
        match found.as_slice() {
            [at] if !order.contains(at) => order.push(*at),
            [] => {
                return Err(format!(
                    "the header has no \"{}\", which the table declares: it has {}",
                    field.name(),
                    header.join(", ")
                ));
            }
            _ => return Err(format!("the header does not say which column is \"{}\"", field.name())),
        }
    }
    match (0..header.len()).find(|at| !order.contains(at)) {
        Some(other) => Err(format!(
            "the header has \"{}\", which the table does not declare: it declares {}",
            header[other],
            names()
        )),
        None => Ok(order),
    }
}

/// A field as JSON writes it; what is no value of the type stays a string, which the decoder refuses.
fn json_text(field: &Field, text: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    if text.is_empty() {
        return "null".to_owned();
    }
    match field.data_type() {
        DataType::Boolean if ["true", "false"].contains(&text.to_lowercase().as_str()) => text.to_lowercase(),
        data_type if data_type.is_decimal() => quoted(&json_number(text)),
        data_type if data_type.is_numeric() => {
            let number = json_number(text);
            let is_number = serde_json::from_str::<&RawValue>(&number).is_ok()
                && number.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            if is_number { number } else { quoted(text) }
        }
        _ => quoted(text),
    }
}

/// CSV may write numbers as JSON does not: `+5`, `007`, `.5`, `5.`
fn json_number(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !is_plain || digits == "." || digits.matches('.').count() > 1 {
        // With an exponent, or no number at all.
        return format!("{sign}{digits}");
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// The rows of a file of JSON objects, one a line.
pub(crate) fn json_rows(bytes: &[u8], schema: &SchemaRef) -> Fitting<RecordBatch> {
    let mut records = Records::new(TopicPartition::new("", 0));
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    for (number, text) in lines.filter(|(_, text)| !text.trim_ascii().is_empty()) {
        records.push(number, 0, None, Some(text));
    }
    let decoder = Decoder::try_new(Arc::clone(schema), None, usize::MAX)?;
    let decoded = decoder.decode(&records)?;
    if let Some(reject) = decoded.rejects.first() {
        let number = records.get(reject.record as usize).offset();
        return misfit(line(number.unsigned_abs()), &reject.error);
    }
    for (field, column) in schema.fields().iter().zip(decoded.rows.columns()) {
        if column.null_count() == column.len() && !column.is_empty() && !is_named(&records, field.name()) {
            return misfit(None, format!("no line has \"{}\", which the table declares", field.name()));
        }
    }
    Ok(decoded.rows)
}

fn is_named(records: &Records, name: &str) -> bool {
    type Object<'a> = std::collections::HashMap<std::borrow::Cow<'a, str>, serde::de::IgnoredAny>;
    let has = |value: &[u8]| serde_json::from_slice::<Object<'_>>(value).is_ok_and(|o| o.contains_key(name));
    records.iter().any(|record| record.value().is_some_and(has))
}

/// The rows of a Parquet file.
pub(crate) fn parquet_rows(bytes: &Bytes, schema: &SchemaRef) -> Fitting<RecordBatch> {
    let unreadable = |error: &dyn std::fmt::Display| Misfit::Of(None, error.to_string());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|e| unreadable(&e))?;
    let found = Arc::clone(reader.schema());
    let batches = reader.build().map_err(|e| unreadable(&e))?;
    let batches = batches.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| unreadable(&e))?;
    let rows = arrow::compute::concat_batches(&found, &batches)?;
    let column = |field: &Arc<Field>| -> Fitting<ArrayRef> {
        let place = format!("column \"{}\"", field.name());
        let Some(column) = rows.column_by_name(field.name()) else {
            let names: Vec<&str> = found.fields().iter().map(|field| field.name().as_str()).collect();
            return misfit(place, format!("it is not there: the file has {}", names.join(", ")));
        };
        if !fits(column.data_type(), field.data_type()) {
            let (found, declared) = (type_name(column.data_type()), type_name(field.data_type()));
            return misfit(place, format!("it is {found}, the table declares {declared}"));
        }
        let exact = CastOptions { safe: false, ..CastOptions::default() };
        let column = cast_with_options(column, field.data_type(), &exact)
            .or_else(|error| misfit(place.clone(), error.to_string()))?;
        if !field.is_nullable() && column.null_count() > 0 {
            return misfit(place, "a row has NULL, the table declares NOT NULL");
        }
        Ok(column)
    };
    let columns = schema.fields().iter().map(column).collect::<Fitting<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Whether each value of one type is the same value of the other.
fn fits(found: &DataType, declared: &DataType) -> bool {
    match (found, declared) {
        (DataType::Utf8View | DataType::LargeUtf8, DataType::Utf8) => true,
        (DataType::Dictionary(_, value), _) => fits(value, declared),
        (DataType::Timestamp(found, zone), DataType::Timestamp(declared, None)) => {
            let is_utc = zone.as_deref().is_none_or(|zone| ["UTC", "+00:00", "Z"].contains(&zone));
            // Units are in order, the coarsest first.
            is_utc && found <= declared
        }
        _ => found == declared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Schema, TimeUnit};

    const CSV: CsvFormat = CsvFormat {
        has_header: true,
        delimiter: b',',
        quote: b'"',
        escape: None,
        double_quote: true,
        comment: None,
    };

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("money", DataType::Decimal128(10, 2), true),
            Field::new("n", DataType::Int32, true),
            Field::new("day", DataType::Date32, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        ]))
    }

    fn json_of(rows: Fitting<RecordBatch>) -> String {
        match rows {
            Err(Misfit::Of(place, problem)) => format!("{}: {problem}", place.unwrap_or_default()),
            Err(Misfit::Failed(error)) => panic!("{error}"),
            Ok(rows) => {
                let column = |index: usize| {
                    let format = arrow::util::display::FormatOptions::default().with_null("NULL");
                    let formatter =
                        arrow::util::display::ArrayFormatter::try_new(rows.column(index).as_ref(), &format);
                    let formatter = formatter.expect("can be shown");
                    (0..rows.num_rows()).map(|row| formatter.value(row).to_string()).collect::<Vec<_>>()
                };
                (0..rows.num_columns()).map(|index| column(index).join(" ")).collect::<Vec<_>>().join("|")
            }
        }
    }

    #[test]
    fn a_csv_file_is_read_by_names_and_exactly() {
        let header = "at,flag,day,n,money,id\n";
        for (rows, expected) in [
            (
                "2026-01-05T00:00:00Z,TRUE,2026-01-05,+007,.5,a",
                "a|0.50|7|2026-01-05|true|2026-01-05T00:00:00",
            ),
            (",,,,,\"b, \"\"c\"\"\"", "b, \"c\"|NULL|NULL|NULL|NULL|NULL"),
            (",,,1e2,-12.500,x\n,,,-1,3.,y", "x y|-12.50 3.00|100 -1|NULL NULL|NULL NULL|NULL NULL"),
            (",,,,12.505,a", "line 2: column \"money\": \"12.505\" can't be held exactly by DECIMAL(10, 2)"),
            (",,,,,a\n,,,1.9,,b", "line 3: column \"n\": 1.9 can't be held exactly by INT"),
            (",,,3000000000,,b", "line 2: column \"n\": 3000000000 is out of the range of INT"),
            (",,2026-02-30,,,a", "line 2: column \"day\": found the string \"2026-02-30\""),
            (",yes,,,,a", "line 2: column \"flag\": found the string \"yes\""),
            (",1,,,,a", "line 2: column \"flag\": found the string \"1\""),
            (",,,one,,a", "line 2: column \"n\": found the string \"one\""),
            (",,,\"1,\"\"id\"\":2\",,a", "line 2: column \"n\": found the string"),
            (",,,null,,a", "line 2: column \"n\": found the string \"null\""),
            (",,,NaN,,a", "line 2: column \"n\": found the string \"NaN\""),
            (",,,,NaN,a", "line 2: column \"money\": found the string \"NaN\""),
            ("yesterday,,,,,a", "line 2: column \"at\": found the string"),
            (",,,,5,", "line 2: column \"id\": null, expected VARCHAR"),
            (",,,,5", "line 2: 5 fields, the table has 6"),
            (",,,,5,a,", "line 2: 7 fields, the table has 6"),
            ("\n,,,,,\"two\nlines\"\n,,,,x,c", "line 5: column \"money\": found the string"),
        ] {
            let came = json_of(csv_rows(format!("{header}{rows}").as_bytes(), &schema(), CSV));
            assert!(came.starts_with(expected), "{rows}: {came}");
        }
        for (header, expected) in [
            ("id,money,n,day,flag", "line 1: the header has no \"at\""),
            ("id,money,n,day,flag,at,more", "line 1: the header has \"more\""),
            ("id,money,n,day,flag,at,id", "line 1: the header does not say which column is \"id\""),
            ("ID,Money,N,Day,FLAG,at", ""),
            ("\u{feff}id,money,n,day,flag,at", ""),
            ("", ": the header is missing"),
        ] {
            assert_eq!(&json_of(csv_rows(header.as_bytes(), &schema(), CSV))[..expected.len()], expected);
        }
        let plain = CsvFormat { has_header: false, delimiter: b';', comment: Some(b'#'), ..CSV };
        let came = json_of(csv_rows(b"#id\na;1.25;2;;;\n", &schema(), plain));
        assert_eq!(came, "a|1.25|2|NULL|NULL|NULL");
        assert_eq!(json_of(csv_rows(b"a;\xff;;;;\n", &schema(), plain)), "line 1: it is not UTF-8");
    }

    #[test]
    fn a_json_file_is_read_as_records_are() {
        let all = r#""money":1.5,"n":2,"day":null,"flag":true,"at":null"#;
        for (text, expected) in [
            (format!("{{\"id\":\"a\",{all},\"other\":[1]}}\n\n"), "a|1.50|2|NULL|true|NULL"),
            (
                format!("{{\"id\":\"a\",{all}}}\n{{\"id\":\"b\",\"money\":12.505}}"),
                "line 2: column \"money\": 12.505 can't",
            ),
            ("{\"id\":\"a\"".to_owned(), "line 1: EOF"),
            ("[1]".to_owned(), "line 1: found an array"),
            (
                "{\"Id\":\"a\"}".to_owned(),
                "line 1: column \"id\": missing, expected VARCHAR; the record has \"Id\"",
            ),
            ("{\"id\":\"a\",\"Money\":5}".to_owned(), ": no line has \"money\""),
        ] {
            let came = json_of(json_rows(text.as_bytes(), &schema()));
            assert!(came.starts_with(expected), "{text}: {came}");
        }
    }

    #[test]
    fn a_parquet_file_has_the_declared_types() {
        let written = Arc::new(Schema::new(vec![
            Field::new("other", DataType::Int8, true),
            Field::new("money", DataType::Decimal128(10, 2), true),
            Field::new("id", DataType::LargeUtf8, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow::array::Int8Array::from(vec![1, 2])),
            Arc::new(
                arrow::array::Decimal128Array::from(vec![Some(1250), None])
                    .with_precision_and_scale(10, 2)
                    .expect("fits"),
            ),
            Arc::new(arrow::array::LargeStringArray::from(vec![Some("a"), Some("b")])),
            Arc::new(arrow::array::TimestampMillisecondArray::from(vec![0, 1]).with_timezone("UTC")),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&written), columns).expect("a batch");
        let mut bytes = Vec::new();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(&mut bytes, Arc::clone(&written), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        let bytes = Bytes::from(bytes);
        let read = |fields: Vec<Field>| json_of(parquet_rows(&bytes, &Arc::new(Schema::new(fields))));
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert_eq!(
            read(vec![
                Field::new("id", DataType::Utf8, false),
                Field::new("money", DataType::Decimal128(10, 2), true),
                Field::new("at", nanos, true)
            ]),
            "a b|12.50 NULL|1970-01-01T00:00:00 1970-01-01T00:00:00.001"
        );
        for (field, expected) in [
            (
                Field::new("ID", DataType::Utf8, true),
                "column \"ID\": it is not there: the file has other, money, id",
            ),
            (Field::new("money", DataType::Decimal128(10, 2), false), "column \"money\": a row has NULL"),
            (
                Field::new("money", DataType::Decimal128(10, 1), true),
                "column \"money\": it is DECIMAL(10, 2), the table declares DECIMAL(10, 1)",
            ),
            (
                Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true),
                "column \"at\": it is TIMESTAMP",
            ),
        ] {
            assert!(read(vec![field.clone()]).starts_with(expected), "{}", read(vec![field]));
        }
        assert!(json_of(parquet_rows(&Bytes::from_static(b"PAR1"), &schema())).starts_with(": "));
    }
}

//! The headers of a message, whatever bytes their names are.
//!
//! A name is text by convention only, and rust-rdkafka panics at one that is not UTF-8; so names are read
//! from librdkafka itself. This is the only unsafe code of the crate.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// Calls `see` with name and value of each header, in their order; bytes of a name that are no UTF-8 are
/// written as `\xff`.
pub(crate) fn each_header(message: &BorrowedMessage<'_>, mut see: impl FnMut(&str, Option<&[u8]>)) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive, and the list that librdkafka points to is the message's own.
    let found = unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) };
    if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return;
    }
    for index in 0.. {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list is alive as long as the message; beyond its end librdkafka says so.
        let found = unsafe { rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: librdkafka ends each name with a zero byte; name and value live as long as the message.
        let name = unsafe { CStr::from_ptr(name) };
        let value =
            (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) });
        see(&escaped(name.to_bytes()), value);
    }
}

fn escaped(name: &[u8]) -> Cow<'_, str> {
    if let Ok(name) = std::str::from_utf8(name) {
        return Cow::Borrowed(name);
    }
    let chunk =
        |chunk: std::str::Utf8Chunk<'_>| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii());
    Cow::Owned(name.utf8_chunks().map(chunk).collect())
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_are_kept_and_told_apart() {
        assert_eq!(escaped(b"trace-id"), "trace-id");
        assert_eq!(escaped("größe".as_bytes()), "größe");
        assert_eq!(escaped(b"a\xffb\xfe"), "a\\xffb\\xfe");
        assert_eq!(escaped(b"\xc3"), "\\xc3");
        assert_eq!(escaped(b""), "");
    }
}

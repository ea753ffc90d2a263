//! What an error of MongoDB says: about a document, a transaction, or the server.

use mongodb::error::{
    Error as MongoError, ErrorKind as MongoErrorKind, IndexedWriteError, TRANSIENT_TRANSACTION_ERROR,
    WriteFailure,
};

/// The server's code of a key that is there already.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// A key that is there already, in the index of `_id` (a clustered collection has none to name); a unique
/// index of somebody else refuses the row.
pub(super) fn is_duplicate_id(error: &IndexedWriteError) -> bool {
    let is_of_id = error.message.contains(" index: _id_ ") || !error.message.contains(" index: ");
    error.code == DUPLICATE_KEY && is_of_id
}

/// The codes that the server gave; those of single documents too.
pub(super) fn codes(error: &MongoError) -> Vec<i32> {
    match error.kind.as_ref() {
        MongoErrorKind::Command(command) => vec![command.code],
        MongoErrorKind::Write(WriteFailure::WriteError(error)) => vec![error.code],
        MongoErrorKind::Write(WriteFailure::WriteConcernError(error)) => vec![error.code],
        MongoErrorKind::InsertMany(failure) => {
            let of_documents = failure.write_errors.iter().flatten().map(|error| error.code);
            of_documents.chain(failure.write_concern_error.iter().map(|error| error.code)).collect()
        }
        _ => Vec::new(),
    }
}

/// What an insert says of the first document that it did not store, if it was about documents.
pub(super) fn of_first_document(error: &MongoError) -> Option<&IndexedWriteError> {
    match error.kind.as_ref() {
        MongoErrorKind::InsertMany(failure) => failure.write_errors.as_deref()?.first(),
        _ => None,
    }
}

/// What the server said, of the first document if it was about documents.
pub(super) fn words(error: &MongoError) -> String {
    of_first_document(error).map_or_else(|| error.to_string(), |error| error.message.clone())
}

/// Whether the server was not even reached.
pub(super) fn is_away(error: &MongoError) -> bool {
    matches!(
        error.kind.as_ref(),
        MongoErrorKind::DnsResolve { .. }
            | MongoErrorKind::Io(_)
            | MongoErrorKind::ServerSelection { .. }
            | MongoErrorKind::ConnectionPoolCleared { .. }
    )
}

/// Whether it may pass by itself: a server that stops, steps down or can't be reached, a lock, a time limit.
pub(super) fn is_transient(error: &MongoError) -> bool {
    // Codes of the driver specifications: not primary, shutting down, network, interrupted, time out.
    const CODES: [i32; 20] = [
        6, 7, 24, 50, 64, 89, 91, 112, 133, 134, 189, 202, 262, 9001, 10058, 10107, 11600, 11602, 13435,
        13436,
    ];
    ["RetryableWriteError", TRANSIENT_TRANSACTION_ERROR].iter().any(|label| error.contains_label(label))
        || codes(error).iter().any(|code| CODES.contains(code))
}

/// Whether it says that a transaction is too large: for the log, the cache, or its time.
pub(super) fn is_too_large(error: &MongoError) -> bool {
    const CODES: [i32; 3] = [257, 290, 388];
    codes(error).iter().any(|code| CODES.contains(code))
}

//! What an error of MongoDB says: about a document, a transaction, or the server.

use mongodb::error::{
    Error as MongoError, ErrorKind as MongoErrorKind, IndexedWriteError, TRANSIENT_TRANSACTION_ERROR,
    WriteFailure,
};

use crate::error::{Error, ErrorKind};

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

/// Why no server could be chosen, in few words, and what to do about it.
///
/// The driver tells the whole topology, and nothing of it otherwise than as text:
/// `… Set Name: rs0, … Servers: [ { Address: mongodb:27017, Type: Unknown, Error: Kind: …, labels: … } ] …`
pub(super) fn why_away(error: &str, hosts: &str) -> (String, &'static str) {
    const START: &str = "start it, or give the right address with --mongodb";
    let servers: Vec<(&str, &str)> = error.split("{ Address: ").skip(1).filter_map(server).collect();
    if servers.is_empty() {
        return (error.to_owned(), START);
    }
    let names: Vec<&str> = servers.iter().map(|(name, _)| *name).collect();
    let is_given = |name: &&str| hosts.split(',').any(|host| host == *name);
    let why: Vec<String> = servers.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    match error.split("Set Name: ").nth(1).and_then(|rest| rest.split(',').next()) {
        Some(set) if !names.iter().any(is_given) => (
            format!(
                "the replica set \"{set}\" calls its members {}, and by these names this machine can't reach them ({})",
                names.join(", "),
                why.join("; ")
            ),
            "add directConnection=true to the MongoDB URI, if it is one node; or make the names known here (hosts file, DNS), \
             or give the members names that are known everywhere (rs.reconfig)",
        ),
        _ => (why.join("; "), START),
    }
}

/// For who reads a database without a sink: that it could not be read.
pub(crate) fn unreadable(hosts: &str, error: &MongoError) -> Error {
    let place = format!("could not read MongoDB at \"{hosts}\"");
    if !is_away(error) {
        return Error::new(ErrorKind::Sink, place).because(error.to_string());
    }
    let (why, advice) = why_away(&error.to_string(), hosts);
    Error::unavailable(place).because(why).advise(advice)
}

/// Name and error of one server of a topology.
fn server(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(", ")?;
    let (_, rest) = rest.split_once("Error: Kind: ")?;
    Some((name, rest.split(", labels:").next()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is what mongodb 3.9 says of a real mongod.
    #[test]
    fn a_replica_set_with_names_of_its_own_is_recognised() {
        let text = "Kind: Server selection timeout: No available servers. Topology: { Type: ReplicaSetNoPrimary, \
            Set Name: rs0, Max Set Version: 1, Max Election ID: 7fffffff0000000000000001, Servers: [ { Address: \
            mongodb:27017, Type: Unknown, Error: Kind: I/O error: failed to lookup address information: Name or \
            service not known, labels: {}, source: None, server response: None } ] }, labels: {}, source: None, \
            server response: None";
        let (why, advice) = why_away(text, "localhost:27017");
        assert!(why.contains("\"rs0\" calls its members mongodb:27017, and by these names"), "{why}");
        assert!(why.contains("Name or service not known") && !why.contains("labels"), "{why}");
        assert!(advice.contains("directConnection=true"), "{advice}");
        // Given by that name it is just away.
        let (why, advice) = why_away(text, "mongodb:27017,other:27017");
        assert!(why.starts_with("mongodb:27017: I/O error"), "{why}");
        assert!(advice.starts_with("start it"), "{advice}");
        assert_eq!(why_away("something else", "a:1").0, "something else");
    }
}

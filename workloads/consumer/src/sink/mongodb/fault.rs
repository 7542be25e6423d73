//! What an error of MongoDB means.

use crate::sink::Fault;
use ::mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};
use std::collections::BTreeMap;

/// The record is there already.
pub const DUPLICATE_KEY: i32 = 11_000;
/// Something in the server went wrong.
const INTERNAL: i32 = 1;

/// What to do about the error.
pub fn of(error: &Error) -> Fault {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => of_code(error.code, &error.message),
        ErrorKind::Write(WriteFailure::WriteError(error)) => of_code(error.code, &error.message),
        // The driver refuses a document before it is sent: too large, or not valid BSON.
        ErrorKind::Bson(_) | ErrorKind::InvalidArgument { .. } => Fault::Data,
        ErrorKind::Authentication { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::InvalidTlsConfig { .. } => Fault::Setup,
        // Network, server selection, write concern, …
        _ => Fault::Passing,
    }
}

/// What to do about an error with this code and message.
pub fn of_code(code: i32, message: &str) -> Fault {
    match code {
        // FerretDB stores in PostgreSQL, and passes on that one's refusal of a value as an internal error.
        INTERNAL if message.contains("(SQLSTATE 22") || message.contains("(SQLSTATE 54") => Fault::Data,
        // BadValue, FailedToParse, TypeMismatch, Overflow, DollarPrefixedFieldName, DottedFieldName, EmptyFieldName,
        // DocumentValidationFailure, BSONObjectTooLarge, KeyTooLong, and a path too deep.
        2 | 9 | 14 | 15 | 52 | 56 | 57 | 121 | 10_334 | 17_280 | 17_419 | 17_420 => Fault::Data,
        // Unauthorized, AuthenticationFailed, CommandNotFound, CommandNotSupported, NotImplemented.
        13 | 18 | 59 | 115 | 238 => Fault::Setup,
        _ => Fault::Passing,
    }
}

/// The error in words, without a document's content. What the driver would print of other kinds may hold it.
pub fn describe(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => describe_code(error.code, Some(&error.code_name), &error.message),
        ErrorKind::Write(WriteFailure::WriteError(error)) => {
            describe_code(error.code, error.code_name.as_deref(), &error.message)
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => describe_concern(error.code, &error.code_name),
        ErrorKind::InsertMany(failure) => describe_insertion(failure),
        ErrorKind::Bson(_) => "the document is not valid BSON".to_owned(),
        ErrorKind::InvalidArgument { .. } => "the driver cannot send the document".to_owned(),
        ErrorKind::Authentication { .. } => {
            format!("{}; check the user name and password in the Secret", error.kind)
        }
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. } => error.kind.to_string(),
        _ => "the driver and the server do not understand each other; see the server's log".to_owned(),
    }
}

/// The errors of many documents: each comes with a message, and with details, that quote its document.
fn describe_insertion(failure: &InsertManyError) -> String {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for error in failure.write_errors.iter().flatten() {
        *counts.entry(error.code).or_default() += 1;
    }
    let documents = counts
        .iter()
        .map(|(code, count)| format!("error {code} for {count} of the documents"));
    let concern = failure.write_concern_error.as_ref();
    let concern = concern.map(|error| describe_concern(error.code, &error.code_name));
    documents.chain(concern).collect::<Vec<_>>().join(", ")
}

/// Documents that are written, but not where they are to be.
fn describe_concern(code: i32, name: &str) -> String {
    let name = Some(name).filter(|name| !name.is_empty()).unwrap_or("error");
    format!("{name} ({code}): not as many servers have it as must")
}

/// A code in words. The server's message quotes the document where the fault is with the data.
pub fn describe_code(code: i32, name: Option<&str>, message: &str) -> String {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("error");
    match of_code(code, message) {
        Fault::Data => format!("{name} ({code}): the document cannot be stored"),
        Fault::Passing | Fault::Setup => format!("{name} ({code}): {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classed() {
        for (fault, codes) in [
            (Fault::Data, &[2, 121, 10_334][..]),
            (Fault::Setup, &[13, 18]),
            (Fault::Passing, &[6, 91, 112, 189, 10_107, 0]),
        ] {
            for code in codes {
                assert_eq!(of_code(*code, ""), fault, "{code}");
            }
        }
    }

    #[test]
    fn a_refusal_by_the_database_behind_is_one_of_data() {
        assert_eq!(
            of_code(1, "ERROR: unsupported Unicode escape sequence (SQLSTATE 22P05)"),
            Fault::Data
        );
        assert_eq!(
            of_code(1, "FATAL: the database system is starting up (SQLSTATE 57P03)"),
            Fault::Passing
        );
    }

    #[test]
    fn a_broken_connection_passes() {
        let error = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(of(&error), Fault::Passing);
    }

    #[test]
    fn errors_of_many_documents_are_counted_by_code() {
        let failure = serde_json::from_value(serde_json::json!({
            "writeErrors": [
                {"index": 0, "code": 121, "errmsg": "my secret", "errInfo": {"consideredValue": "my secret"}},
                {"index": 1, "code": 112, "errmsg": "my secret"},
                {"index": 2, "code": 121, "errmsg": "my secret"},
            ],
            "writeConcernError": {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting", "errInfo": {}},
        }));
        assert_eq!(
            describe(&ErrorKind::InsertMany(failure.unwrap()).into()),
            "error 112 for 1 of the documents, error 121 for 2 of the documents, \
             WriteConcernFailed (64): not as many servers have it as must"
        );
    }

    #[test]
    fn an_error_about_data_does_not_quote_it() {
        assert_eq!(
            describe_code(2, Some("BadValue"), "invalid value: my secret"),
            "BadValue (2): the document cannot be stored"
        );
    }
}

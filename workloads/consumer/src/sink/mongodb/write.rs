//! Writing the rows of one source.

use super::{
    Mongodb, document,
    fault::{self, DUPLICATE_KEY},
    store_error,
};
use crate::{
    batch::Row,
    isolate::isolate,
    sink::{Fault, StoreError},
};
use ::mongodb::{
    bson::{Document, RawDocumentBuf, doc},
    error::{Error, ErrorKind},
};
use contract::{Source, source::Storage};
use futures::{StreamExt, TryStreamExt, stream};

/// Documents in one command.
const CHUNK: usize = 1_000;
/// Commands of one reader at a time.
const CONCURRENCY: usize = 4;

/// A row that MongoDB cannot store, by its place in the input, with the reason.
pub type Refused = (usize, String);

impl Mongodb {
    /// Writes rows of `source`, each record id once. Rows that cannot be stored are left out and named. Writing a
    /// row again changes nothing, so a failed call is simply repeated.
    pub async fn write(&self, source: Source, rows: &[&Row]) -> Result<Vec<Refused>, StoreError> {
        let chunks = rows.chunks(CHUNK).enumerate().map(|(number, chunk)| async move {
            let refused = isolate_chunk(self, source, chunk).await?;
            Ok::<_, StoreError>(
                refused
                    .into_iter()
                    .map(move |(index, reason)| (number * CHUNK + index, reason)),
            )
        });
        let refused: Vec<_> = stream::iter(chunks).buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(refused.into_iter().flatten().collect())
    }

    /// Unordered inserts: what is there already stays as it is.
    async fn insert(&self, source: Source, rows: &[&Row]) -> Result<Vec<Refused>, Error> {
        let documents = rows.iter().map(|row| RawDocumentBuf::try_from(&document::of(row)));
        let documents: Vec<RawDocumentBuf> = documents.collect::<Result<_, _>>()?;
        let collection = self.collection(source);
        let outcome = self
            .bounded(async { collection.insert_many(documents).ordered(false).await })
            .await;
        match outcome {
            Ok(_) => Ok(Vec::new()),
            Err(error) => match error.kind.as_ref() {
                ErrorKind::InsertMany(failure) if failure.write_concern_error.is_none() => {
                    let errors = failure.write_errors.iter().flatten();
                    refusals(errors.map(|error| (error.index, error.code, error.code_name.as_deref(), &*error.message)))
                        .ok_or(error)
                }
                _ => Err(error),
            },
        }
    }

    /// Upserts that replace a document only by a newer version. Where the stored one is newer or the same, the
    /// filter finds nothing, and the insert that follows fails on the key: so be it.
    async fn upsert(&self, source: Source, rows: &[&Row]) -> Result<Vec<Refused>, Error> {
        let updates: Vec<Document> = rows
            .iter()
            .map(|row| {
                doc! {
                    "q": {"_id": row.id.to_string(), document::VERSION: {"$lt": document::version(row)}},
                    "u": document::of(row),
                    "upsert": true,
                    "multi": false,
                }
            })
            .collect();
        let answer = self
            .command(doc! {"update": source.name(), "updates": updates, "ordered": false})
            .await?;
        if let Some(concern) = answer.get("writeConcernError") {
            return Err(Error::custom(format!("write concern: {concern}")));
        }
        let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let errors = errors.iter().filter_map(|error| error.as_document()).map(|error| {
            let index = number(error, "index")
                .and_then(|index| usize::try_from(index).ok())
                .unwrap_or_default();
            let code = number(error, "code")
                .and_then(|code| i32::try_from(code).ok())
                .unwrap_or_default();
            (
                index,
                code,
                error.get_str("codeName").ok(),
                error.get_str("errmsg").unwrap_or_default(),
            )
        });
        refusals(errors).ok_or_else(|| Error::custom("some updates failed for a reason that passes".to_owned()))
    }
}

/// Servers name the guilty documents or refuse the whole command; in the second case they are found by halving.
async fn isolate_chunk(mongodb: &Mongodb, source: Source, rows: &[&Row]) -> Result<Vec<Refused>, StoreError> {
    let mut named: Vec<Refused> = Vec::new();
    let found = isolate(rows.len(), async |range| {
        let slice = &rows[range.clone()];
        let outcome = match source.storage() {
            Storage::Append => mongodb.insert(source, slice).await,
            Storage::VersionedUpsert => mongodb.upsert(source, slice).await,
        };
        match outcome {
            Ok(refused) => {
                named.extend(refused.into_iter().map(|(index, reason)| (range.start + index, reason)));
                Ok(None)
            }
            Err(error) if is_duplicate(&error) && slice.len() == 1 => Ok(None),
            Err(error) if is_duplicate(&error) => Ok(Some(String::new())),
            Err(error) if fault::of(&error) == Fault::Data => Ok(Some(fault::describe(&error))),
            Err(error) => Err(store_error(error)),
        }
    })
    .await?;
    named.extend(found);
    Ok(named)
}

/// Some servers answer a whole command with the error of one of its documents.
fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(error) if error.code == DUPLICATE_KEY)
}

/// The rows that these errors are about, without those that are stored already; `None` when an error is not about a
/// row at all.
fn refusals<'a>(errors: impl Iterator<Item = (usize, i32, Option<&'a str>, &'a str)>) -> Option<Vec<Refused>> {
    errors
        .filter(|(_, code, ..)| *code != DUPLICATE_KEY)
        .map(|(index, code, name, message)| match fault::of_code(code) {
            Fault::Data => Some((index, fault::describe_code(code, name, message))),
            Fault::Passing | Fault::Setup => None,
        })
        .collect()
}

/// Servers differ in the width of their integers.
fn number(document: &Document, field: &str) -> Option<i64> {
    let value = document.get(field)?;
    value
        .as_i64()
        .or_else(|| value.as_i32().map(i64::from))
        .or_else(|| value.as_f64().map(|value| value as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_already_is_no_refusal() {
        let errors = [
            (0, DUPLICATE_KEY, None, ""),
            (3, 10_334, Some("BSONObjectTooLarge"), "secret"),
        ];
        assert_eq!(
            refusals(errors.into_iter()),
            Some(vec![(
                3,
                "BSONObjectTooLarge (10334): the document cannot be stored".to_owned()
            )])
        );
    }

    #[test]
    fn one_error_that_is_not_about_a_row_fails_the_whole() {
        let errors = [(0, DUPLICATE_KEY, None, ""), (3, 189, None, "stepped down")];
        assert_eq!(refusals(errors.into_iter()), None);
    }
}

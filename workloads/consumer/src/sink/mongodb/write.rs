//! Writing the rows of one source.

use super::{
    Mongodb, document,
    fault::{self, DUPLICATE_KEY},
    store_error,
};
use crate::{
    batch::Row,
    isolate::{Refusal, isolate},
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
/// Replacements of one reader at a time. Each is a command of its own: FerretDB keeps a connection to its database
/// busy for each update of a command and, after an update that fails, leaves out the rest.
const REPLACEMENTS: usize = 8;

/// A row that MongoDB cannot store, by its place in the input, with the reason.
pub type Refused = (usize, String);

/// What an insertion left to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Rows whose id is there already, by their place.
    existing: Vec<usize>,
    /// Rows that cannot be stored.
    refused: Vec<Refused>,
}

impl Left {
    /// Takes over what a part of the rows left, which began at `start`.
    fn extend(&mut self, start: usize, part: Left) {
        self.existing
            .extend(part.existing.into_iter().map(|index| start + index));
        self.refused
            .extend(part.refused.into_iter().map(|(index, reason)| (start + index, reason)));
    }
}

impl Mongodb {
    /// Writes rows of `source`, each record id once. Rows that cannot be stored are left out and named. Writing a
    /// row again changes nothing, so a failed call is simply repeated.
    pub async fn write(&self, source: Source, rows: &[&Row<'_>]) -> Result<Vec<Refused>, StoreError> {
        let chunks = rows.chunks(CHUNK).enumerate().map(|(number, chunk)| async move {
            Ok::<_, StoreError>((number * CHUNK, self.insert_chunk(source, chunk).await?))
        });
        let mut left = Left::default();
        let parts: Vec<(usize, Left)> = stream::iter(chunks).buffer_unordered(CONCURRENCY).try_collect().await?;
        for (start, part) in parts {
            left.extend(start, part);
        }
        let Left { existing, mut refused } = left;
        if source.storage() == Storage::VersionedUpsert {
            let replacements = existing.iter().map(|index| async move {
                let outcome = self.replace_older(source, rows[*index]).await?;
                Ok::<_, StoreError>(outcome.map(|reason| (*index, reason)))
            });
            let outcomes: Vec<Option<Refused>> = stream::iter(replacements)
                .buffer_unordered(REPLACEMENTS)
                .try_collect()
                .await?;
            refused.extend(outcomes.into_iter().flatten());
        }
        Ok(refused)
    }

    /// Servers name the guilty documents or refuse the whole command; in the second case they are found by halving.
    async fn insert_chunk(&self, source: Source, rows: &[&Row<'_>]) -> Result<Left, StoreError> {
        let mut left = Left::default();
        let found = isolate(rows.len(), None, async |range| {
            match self.insert(source, &rows[range.clone()]).await {
                Ok(part) => {
                    left.extend(range.start, part);
                    Ok(None)
                }
                Err(error) if is_duplicate(&error) && range.len() == 1 => {
                    left.existing.push(range.start);
                    Ok(None)
                }
                Err(error) if is_duplicate(&error) || fault::of(&error) == Fault::Data => {
                    let (reason, place) = (fault::describe(&error), None);
                    Ok(Some(Refusal { reason, place }))
                }
                Err(error) => Err(store_error(error)),
            }
        })
        .await?;
        left.refused.extend(found);
        Ok(left)
    }

    /// Unordered: what is there already stays as it is.
    async fn insert(&self, source: Source, rows: &[&Row<'_>]) -> Result<Left, Error> {
        let documents = rows.iter().map(|row| RawDocumentBuf::try_from(&document::of(row)));
        let documents: Vec<RawDocumentBuf> = documents.collect::<Result<_, _>>()?;
        let collection = self.collection::<RawDocumentBuf>(source);
        let outcome = self
            .bounded(async { collection.insert_many(documents).ordered(false).await })
            .await;
        match outcome {
            Ok(_) => Ok(Left::default()),
            Err(error) => match error.kind.as_ref() {
                ErrorKind::InsertMany(failure) if failure.write_concern_error.is_none() => {
                    let errors = failure.write_errors.iter().flatten();
                    left(errors.map(|error| (error.index, error.code, error.code_name.as_deref(), &*error.message)))
                        .ok_or(error)
                }
                _ => Err(error),
            },
        }
    }

    /// Replaces a document that is there, unless it is newer or the same. A reason comes back where the new one
    /// cannot be stored.
    async fn replace_older(&self, source: Source, row: &Row<'_>) -> Result<Option<String>, StoreError> {
        let older = doc! {"_id": row.id.to_string(), (document::VERSION): {"$lt": document::version(row)}};
        let collection = self.collection::<Document>(source);
        let outcome = self
            .bounded(async { collection.replace_one(older, document::of(row)).await })
            .await;
        match outcome {
            Ok(_) => Ok(None),
            Err(error) if fault::of(&error) == Fault::Data => Ok(Some(fault::describe(&error))),
            Err(error) => Err(store_error(error)),
        }
    }
}

/// Some servers answer a whole command with the error of one of its documents.
fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(error) if error.code == DUPLICATE_KEY)
}

/// What these errors leave to be done; `None` when one of them is not about a row at all.
fn left<'a>(errors: impl Iterator<Item = (usize, i32, Option<&'a str>, &'a str)>) -> Option<Left> {
    let mut left = Left::default();
    for (index, code, name, message) in errors {
        if code == DUPLICATE_KEY {
            left.existing.push(index);
        } else if fault::of_code(code, message) == Fault::Data {
            left.refused.push((index, fault::describe_code(code, name, message)));
        } else {
            return None;
        }
    }
    Some(left)
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
        let refused = vec![(
            3,
            "BSONObjectTooLarge (10334): the document cannot be stored".to_owned(),
        )];
        assert_eq!(
            left(errors.into_iter()),
            Some(Left {
                existing: vec![0],
                refused
            })
        );
    }

    #[test]
    fn one_error_that_is_not_about_a_row_fails_the_whole() {
        let errors = [(0, DUPLICATE_KEY, None, ""), (3, 189, None, "stepped down")];
        assert_eq!(left(errors.into_iter()), None);
    }
}

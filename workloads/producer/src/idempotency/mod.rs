//! A request that is sent again with the same `Idempotency-Key` is answered as the first time, by whichever replica.
//!
//! Nothing is lost or doubled without it: a record's own id sees to that. It spares a client whose connection broke
//! the second upload, and gives it the receipts of the first.
//!
//! - [`request`]: the key, and what tells two requests apart
//! - [`store`]: claims and kept answers in PostgreSQL
//! - [`end`]: a request is over
//! - [`sweep`]: old ones are deleted

pub mod end;
pub mod request;
pub mod store;
pub mod sweep;

use crate::database::Away;
use actix_web::web::Bytes;
use futures::future::BoxFuture;
use request::RepeatableRequest;
use std::time::Duration;
use uuid::Uuid;

/// How long a request counts as under way; then it is that of a replica that died, and whoever repeats it takes over.
/// Longer than any request is under way: the waits for quota, Kafka and PostgreSQL together. One that is taken over
/// too soon does no harm either, because record ids are the same.
pub const CLAIM: Duration = Duration::from_secs(30);

/// What is known of a request when it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is new, or nobody is at it any more: it is this replica's, under this name.
    Ours(Uuid),
    /// It has its answer.
    Answered(Kept),
    /// Another attempt is at it.
    UnderWay {
        /// After which it is worth while to ask again.
        seconds: u32,
    },
    /// The key was used for another request.
    OtherRequest,
}

/// An answer that is kept for repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Bytes,
}

/// Where replicas agree on who answers what, apart so that it can be tested.
pub trait Answers: Send + Sync {
    /// Claims a request, or says why not.
    fn claim(&self, request: RepeatableRequest) -> BoxFuture<'_, Result<Claim, Away>>;

    /// Keeps the answer to a request that is claimed under this name.
    fn keep(&self, request: RepeatableRequest, claim: Uuid, answer: Kept) -> BoxFuture<'_, Result<(), Away>>;

    /// Gives up a claim: whoever repeats the request starts anew.
    fn release(&self, request: RepeatableRequest, claim: Uuid) -> BoxFuture<'_, Result<(), Away>>;
}

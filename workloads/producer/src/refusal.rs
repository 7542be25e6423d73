//! Every answer to a request that is refused as a whole: its status, its code and its words.

use crate::{
    database::{self, Away},
    idempotency::request::NotAKey,
    keys::KeyError,
    ledger::LedgerError,
    quota::QuotaError,
};
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use contract::{FieldError, Source, http::IDEMPOTENCY_KEY, source::UnknownSource};
use runtime::http::READING;
use serde::Serialize;
use std::num::NonZeroU32;

/// Why a request is not answered as it wishes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The route names no source.
    #[error("unknown source; sources are {}", Source::ALL.map(Source::name).join(", "))]
    UnknownSource,
    /// The source's topic is not enabled here.
    #[error("source {source_name} is not enabled{}", .region.as_ref().map(|region| format!(" in region {region}")).unwrap_or_default())]
    SourceNotEnabled {
        /// Name of the source.
        source_name: &'static str,
        /// Region of the pipeline.
        region: Option<String>,
    },
    /// Not JSON in UTF-8.
    #[error("the content type must be application/json, in UTF-8")]
    MediaType,
    /// A body in another encoding than those that are known.
    #[error("the content encoding must be gzip, zstd or none")]
    Encoding,
    /// A compressed body that cannot be unpacked.
    #[error("the body is not one whole {encoding} stream")]
    Packed {
        /// Its encoding.
        encoding: &'static str,
    },
    /// The body is too long.
    #[error(
        "the body must not be longer than {limit} bytes, packed or unpacked; send the records in more than one upload"
    )]
    BodyTooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// Kafka does not take a message of this size.
    #[error("{}", too_large(*.records))]
    MessageTooLarge {
        /// Those that the message would have had.
        records: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} seconds")]
    BodyTooSlow {
        /// The limit, seconds.
        seconds: u64,
    },
    /// The connection broke, or the body is not framed as HTTP wants it.
    #[error("the body could not be read to its end")]
    BodyBroken,
    /// Not JSON.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(String),
    /// A field is wrong.
    #[error("{0}")]
    InvalidField(FieldError),
    /// As many bodies are being read as fit into memory, or as many keys looked up as may be.
    #[error("too many requests at the same time; send this one again a little later")]
    Busy,
    /// No API key, or none that is valid.
    #[error("a valid API key is needed, as `Authorization: Bearer spk_…`")]
    Unauthorized,
    /// The idempotency key is none.
    #[error("{0}")]
    InvalidIdempotencyKey(NotAKey),
    /// There is nowhere to keep answers for repeats.
    #[error("this producer has no PostgreSQL to keep answers in; leave out the header {IDEMPOTENCY_KEY}")]
    NothingKept,
    /// Another attempt at the same request is not over.
    #[error("a request with this {IDEMPOTENCY_KEY} is under way; send this one again a little later")]
    UnderWay {
        /// After which it is worth while to send it again.
        seconds: u32,
    },
    /// The idempotency key belongs to another request.
    #[error("this {IDEMPOTENCY_KEY} was used for another upload; take a new one for each upload")]
    OtherRequest,
    /// The minute's records of the API key are used up.
    #[error("the quota of this API key is used up; the next minute begins in {seconds} s")]
    QuotaExhausted {
        /// Until the next minute begins.
        seconds: u32,
    },
    /// No minute has room for the upload.
    #[error("the quota of this API key is {quota} records a minute; send the records in more than one upload")]
    QuotaTooSmall {
        /// Records a minute.
        quota: NonZeroU32,
    },
    /// PostgreSQL is needed for this request, and away.
    #[error("this cannot be checked at the moment; nothing was stored, send the upload again a little later")]
    DatabaseAway,
    /// PostgreSQL is needed to check an API key, and away.
    #[error("the API key cannot be checked at the moment; nothing was done, send the request again a little later")]
    KeyUnchecked,
    /// What the consumers have noted is needed for this request, and cannot be read.
    #[error("this cannot be told at the moment; ask again a little later")]
    AccountsAway,
    /// The consumers keep no accounts yet.
    #[error("the consumers of this pipeline are of an older release, which keeps no accounts")]
    NoAccountsYet,
    /// Kafka is needed for this request, and has not been reached yet.
    #[error("Kafka has not been reached yet; ask again a little later")]
    KafkaAway,
    /// There is nowhere to look.
    #[error("this producer has no PostgreSQL in which to look what became of messages")]
    NoAccounts,
    /// The receipt's topic is none of this producer's.
    #[error("no such topic here; the receipt tells its topic, and whose it is")]
    UnknownTopic,
    /// The receipt's topic has no such partition.
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The receipt is not the asker's.
    #[error("no such receipt")]
    UnknownReceipt,
    /// The API key may not do this.
    #[error("this is about all tenants together, and the API key is of one of them")]
    Forbidden,
    /// No such route.
    #[error("no such route; uploads go to POST /v1/sync/{{source}}, the API is described at /openapi.json")]
    NoSuchRoute,
    /// Another method than POST.
    #[error("uploads are sent with POST")]
    Method,
    /// Another method than GET and HEAD.
    #[error("this is asked with GET")]
    ReadMethod,
}

fn too_large(records: usize) -> &'static str {
    match records {
        1 => "the record makes a message that is too large for Kafka; it cannot be stored as it is",
        _ => "the records make a message that is too large for Kafka; send them in more than one upload",
    }
}

/// Body of every refusal.
#[derive(Debug, Serialize)]
struct Body<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Refusal {
    /// Stable name of the refusal, for clients and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownSource => "unknown_source",
            Refusal::SourceNotEnabled { .. } => "source_not_enabled",
            Refusal::MediaType => "unsupported_media_type",
            Refusal::Encoding => "unsupported_encoding",
            Refusal::Packed { .. } => "malformed_encoding",
            Refusal::BodyTooLarge { .. } => "body_too_large",
            Refusal::MessageTooLarge { .. } => "message_too_large",
            Refusal::BodyTooSlow { .. } => "body_too_slow",
            Refusal::BodyBroken => "body_broken",
            Refusal::MalformedJson(_) => "malformed_json",
            Refusal::InvalidField(_) => "invalid_field",
            Refusal::Busy => "busy",
            Refusal::Unauthorized => "unauthorized",
            Refusal::InvalidIdempotencyKey(_) => "invalid_idempotency_key",
            Refusal::NothingKept => "idempotency_not_available",
            Refusal::UnderWay { .. } => "request_under_way",
            Refusal::OtherRequest => "idempotency_key_reused",
            Refusal::QuotaExhausted { .. } => "quota_exhausted",
            Refusal::QuotaTooSmall { .. } => "quota_too_small",
            Refusal::DatabaseAway | Refusal::KeyUnchecked => "database_unavailable",
            Refusal::AccountsAway => "accounts_unavailable",
            Refusal::NoAccountsYet => "consumers_outdated",
            Refusal::KafkaAway => "kafka_unavailable",
            Refusal::NoAccounts => "no_accounts",
            Refusal::UnknownTopic => "unknown_topic",
            Refusal::UnknownPartition => "unknown_partition",
            Refusal::UnknownReceipt => "unknown_receipt",
            Refusal::Forbidden => "forbidden",
            Refusal::NoSuchRoute => "no_such_route",
            Refusal::Method | Refusal::ReadMethod => "method_not_allowed",
        }
    }

    /// Seconds after which a retry is worth while.
    fn retry_after(&self) -> Option<u32> {
        match self {
            Refusal::Busy => Some(1),
            Refusal::DatabaseAway | Refusal::KeyUnchecked | Refusal::AccountsAway | Refusal::KafkaAway => {
                Some(database::RETRY_AFTER)
            }
            // As long as it may take to roll the consumers.
            Refusal::NoAccountsYet => Some(60),
            Refusal::UnderWay { seconds } | Refusal::QuotaExhausted { seconds } => Some(*seconds),
            _ => None,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Refusal::InvalidField(error) => Some(&error.field),
            _ => None,
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Refusal::UnknownSource
            | Refusal::SourceNotEnabled { .. }
            | Refusal::NoAccounts
            | Refusal::UnknownTopic
            | Refusal::UnknownPartition
            | Refusal::UnknownReceipt
            | Refusal::NoSuchRoute => StatusCode::NOT_FOUND,
            Refusal::MediaType | Refusal::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::BodyTooLarge { .. } | Refusal::MessageTooLarge { .. } | Refusal::QuotaTooSmall { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Refusal::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyBroken
            | Refusal::Packed { .. }
            | Refusal::MalformedJson(_)
            | Refusal::InvalidField(_)
            | Refusal::InvalidIdempotencyKey(_)
            | Refusal::NothingKept => StatusCode::BAD_REQUEST,
            Refusal::UnderWay { .. } => StatusCode::CONFLICT,
            Refusal::OtherRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::QuotaExhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Busy
            | Refusal::DatabaseAway
            | Refusal::KeyUnchecked
            | Refusal::AccountsAway
            | Refusal::NoAccountsYet
            | Refusal::KafkaAway => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden => StatusCode::FORBIDDEN,
            Refusal::Method | Refusal::ReadMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after() {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        match self {
            Refusal::Method => answer.insert_header((header::ALLOW, "POST")),
            Refusal::ReadMethod => answer.insert_header((header::ALLOW, READING)),
            Refusal::MediaType => answer.insert_header((header::ACCEPT, "application/json")),
            Refusal::Encoding => answer.insert_header((header::ACCEPT_ENCODING, "gzip, zstd")),
            Refusal::Unauthorized => answer.insert_header((header::WWW_AUTHENTICATE, "Bearer")),
            _ => &mut answer,
        };
        let error = ErrorBody {
            code: self.code(),
            message: self.to_string(),
            field: self.field(),
        };
        answer.json(Body { error })
    }
}

impl From<UnknownSource> for Refusal {
    /// The name itself is left out: it is whatever the client wrote.
    fn from(_: UnknownSource) -> Refusal {
        Refusal::UnknownSource
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Refusal {
        Refusal::InvalidField(error)
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Refusal {
        match error {
            KeyError::Refused => Refusal::Unauthorized,
            KeyError::Away(away) => {
                tracing::debug!(%away, "refused");
                Refusal::KeyUnchecked
            }
            KeyError::Busy => Refusal::Busy,
        }
    }
}

impl From<QuotaError> for Refusal {
    fn from(error: QuotaError) -> Refusal {
        match error {
            QuotaError::Exhausted { seconds } => Refusal::QuotaExhausted { seconds },
            QuotaError::TooSmall { quota } => Refusal::QuotaTooSmall { quota },
            QuotaError::Away(away) => away.into(),
        }
    }
}

impl From<NotAKey> for Refusal {
    fn from(error: NotAKey) -> Refusal {
        Refusal::InvalidIdempotencyKey(error)
    }
}

impl From<LedgerError> for Refusal {
    /// The reason is left out: it may name what is none of a client's business.
    fn from(error: LedgerError) -> Refusal {
        tracing::debug!(%error, "refused");
        match error {
            LedgerError::Away(_) => Refusal::AccountsAway,
            LedgerError::OlderRelease => Refusal::NoAccountsYet,
        }
    }
}

impl From<Away> for Refusal {
    /// The reason is left out: it may name what is none of a client's business.
    fn from(away: Away) -> Refusal {
        tracing::debug!(%away, "refused");
        Refusal::DatabaseAway
    }
}

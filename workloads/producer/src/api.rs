//! The routes, and what becomes of an upload from request to answer.

use crate::{
    answer,
    idempotency::request::{self, Fingerprint, RepeatableRequest, Sender},
    ingest::{Ingest, Job, Reply, Rooms, Said},
    intake::Intake,
    kafka::ends::Extents,
    keys::{Key, Keys},
    ledger::Accounts,
    metrics::ProducerMetrics,
    openapi,
    outbox::Outbox,
    receipts,
    reconciliation::{Reconciler, route as reconciliation},
    refusal::Refusal,
    topics::Topics,
    upload::Upload,
};
use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    http::{StatusCode, header::ContentType},
    web::{self, Data, Path, Payload, ServiceConfig},
};
use chrono::Utc;
use contract::{Source, http::IDEMPOTENT_REPLAY};
use runtime::http::reading;
use std::sync::Arc;

/// What every request needs.
pub struct Producer {
    /// Enabled sources and their topics.
    pub topics: Topics,
    /// Tenant written into every envelope.
    pub tenant: String,
    /// Room for bodies.
    pub intake: Intake,
    /// Who may upload; everyone where there are none.
    pub keys: Option<Arc<Keys>>,
    /// What becomes of an upload that is read.
    pub ingest: Arc<Ingest>,
    /// What the consumers have noted; nothing where the environment names no sync database.
    pub accounts: Option<Arc<dyn Accounts>>,
    /// What Kafka holds.
    pub extents: Arc<dyn Extents>,
    /// What has become of everything; where there are accounts.
    pub reconciler: Option<Arc<Reconciler>>,
    /// Collectors.
    pub metrics: ProducerMetrics,
}

/// The producer's own routes; health and metrics are `runtime`'s.
pub fn routes(producer: Data<Producer>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service
            .app_data(producer)
            .service(
                web::resource("/v1/sync/{source}")
                    .route(web::post().to(sync))
                    .default_service(web::to(|| async { Err::<HttpResponse, _>(Refusal::Method) })),
            )
            .service(read_only(
                "/v1/receipts/{topic}/{partition}/{offset}",
                reading().to(receipts::receipt),
            ))
            .service(read_only(
                "/v1/reconciliation",
                reading().to(reconciliation::reconciliation),
            ))
            .service(read_only(
                "/openapi.json",
                reading().to(|| async { HttpResponse::Ok().json(openapi::document()) }),
            ))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Refusal::NoSuchRoute) }));
    }
}

/// A resource that has this route and no other.
fn read_only(path: &str, route: Route) -> Resource {
    let other = web::to(|| async { Err::<HttpResponse, _>(Refusal::ReadMethod) });
    web::resource(path).route(route).default_service(other)
}

/// Takes an upload.
///
/// Takes 1 to 1,000 records of one source, of one user and device, and answers for each of them, in the order of the
/// request: `stored` once Kafka has acknowledged it, `invalid` with the field that is wrong, or `retry` where it may
/// or may not be stored. Send the upload again after a `retry`, with the same record ids (or, where records have none,
/// the same records), and each is stored once.
#[utoipa::path(
    post,
    path = "/v1/sync/{source}",
    operation_id = "sync",
    tag = "sync",
    security((), ("apiKey" = [])),
    params(
        ("source" = openapi::SourceName, Path, description = "Kind of the records"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this upload: sent again with the same key and body, it is answered as the first time. 1 to 255 visible ASCII characters", min_length = 1, max_length = 255),
    ),
    request_body(content = openapi::SyncRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Every record is stored in Kafka", body = openapi::SyncResponse,
            headers(("Idempotent-Replay" = bool, description = "`true` where this is the kept answer to an earlier request"))),
        (status = 207, description = "Some records are stored, others are invalid or to be retried", body = openapi::SyncResponse,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry, where a record wants one"))),
        (status = 400, description = "Every record is invalid; or malformed JSON, or a field of the upload itself is wrong, and `error.field` names it", body = openapi::BadRequest),
        (status = 401, description = "API keys are required, and this request shows no valid one", body = openapi::ErrorResponse),
        (status = 404, description = "Unknown source, or not enabled in the pipeline's region", body = openapi::ErrorResponse),
        (status = 408, description = "The body did not arrive in time", body = openapi::ErrorResponse),
        (status = 409, description = "A request with the same idempotency key is under way", body = openapi::ErrorResponse,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry"))),
        (status = 413, description = "The body is longer than 1 MiB, packed or unpacked, or its message is too large for Kafka", body = openapi::ErrorResponse),
        (status = 415, description = "Not application/json, or in another content encoding than gzip and zstd", body = openapi::ErrorResponse),
        (status = 422, description = "The idempotency key was used for another request", body = openapi::ErrorResponse),
        (status = 429, description = "The API key's quota is used up", body = openapi::ErrorResponse,
            headers(("Retry-After" = u32, description = "Seconds until the next minute of the quota"))),
        (status = 503, description = "No record is acknowledged; retrying with the same ids is safe", body = openapi::Unavailable,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry"))),
    ),
)]
pub async fn sync(
    source: Path<String>,
    request: HttpRequest,
    payload: Payload,
    producer: Data<Producer>,
) -> Result<HttpResponse, Refusal> {
    let (source, topic) = producer.route(&source).inspect_err(|refusal| {
        // A path is whatever a client wrote; a label is one of a few.
        let label = source.parse().map_or("unknown", Source::name);
        producer.metrics.refused(label, refusal.code(), 1);
    })?;
    let refused = |refusal: &Refusal| producer.metrics.refused(source.name(), refusal.code(), 1);
    let shown = producer.key(&request).await.inspect_err(refused)?;
    let called = producer.called(&request).inspect_err(refused)?;
    let body = producer.intake.read(&request, payload).await.inspect_err(refused)?;
    // A body takes its time, in which a key may be revoked.
    let key = producer.still(shown).await.inspect_err(refused)?;
    let tenant = key.as_ref().and_then(|key| key.tenant.as_deref());
    let tenant = tenant.unwrap_or(&producer.tenant);
    let (upload, rooms) = producer.upload(source, tenant, &body.bytes).inspect_err(refused)?;
    let repeatable = called.map(|called| RepeatableRequest {
        sender: Sender::new(
            key.as_ref().map(|key| key.client.as_str()).unwrap_or_default(),
            tenant,
            &upload.user,
            &upload.device,
        ),
        key: called,
        fingerprint: Fingerprint::of(source, topic, tenant, &body.bytes),
    });
    drop(body);
    let job = Job {
        source,
        topic: topic.to_owned(),
        key,
        upload,
        rooms,
        repeatable,
    };
    let Reply { said, room } = producer.ingest.take(job).await?;
    let response = response(said, &producer.intake.outbox);
    drop(room);
    Ok(response)
}

fn response(said: Said, outbox: &Outbox) -> HttpResponse {
    match said {
        Said::New(answer) => answer.response(outbox),
        Said::Repeated(kept) => {
            // Nothing else than a status was kept.
            let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
            let mut response = HttpResponse::build(status);
            response.insert_header((IDEMPOTENT_REPLAY, "true"));
            response.insert_header(ContentType::json());
            outbox.send(response, kept.body)
        }
    }
}

impl Producer {
    fn route(&self, name: &str) -> Result<(Source, &str), Refusal> {
        let source: Source = name.parse()?;
        let topic = self.topics.of(source).ok_or_else(|| Refusal::SourceNotEnabled {
            source_name: source.name(),
            region: self.topics.region().map(str::to_owned),
        })?;
        Ok((source, topic))
    }

    /// Whose request it is, where that is asked. Before its body is read: strangers get no room.
    pub(crate) async fn key(&self, request: &HttpRequest) -> Result<Option<Arc<Key>>, Refusal> {
        match &self.keys {
            Some(keys) => Ok(Some(keys.of_request(request.headers()).await?)),
            None => Ok(None),
        }
    }

    /// The key as it is now.
    async fn still(&self, key: Option<Arc<Key>>) -> Result<Option<Arc<Key>>, Refusal> {
        match (&self.keys, key) {
            (Some(keys), Some(key)) => Ok(Some(keys.still(&key).await?)),
            (_, key) => Ok(key),
        }
    }

    /// What the client calls the request, where it may send it again.
    fn called(&self, request: &HttpRequest) -> Result<Option<String>, Refusal> {
        let key = request::key(request.headers())?;
        if key.is_some() && self.ingest.answers.is_none() {
            return Err(Refusal::NothingKept);
        }
        Ok(key)
    }

    /// The upload in a body, and the memory of what it becomes.
    fn upload(&self, source: Source, tenant: &str, body: &[u8]) -> Result<(Upload, Rooms), Refusal> {
        let upload = Upload::parse(source, tenant, body, Utc::now())?;
        let rooms = Rooms {
            messages: self
                .intake
                .room_for_messages(upload.messages.iter().map(Vec::len).sum())?,
            answer: self.intake.room_for_answer(answer::bytes(&upload.records))?,
        };
        Ok((upload, rooms))
    }
}

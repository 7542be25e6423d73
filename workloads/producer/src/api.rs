//! The routes, and what becomes of an upload from request to answer.

use crate::{
    answer::Answer,
    intake::{Intake, Room},
    kafka::MessageLog,
    metrics::ProducerMetrics,
    openapi,
    refusal::Refusal,
    topics::Topics,
    upload::Upload,
};
use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, Path, Payload, ServiceConfig},
};
use chrono::Utc;
use contract::Source;
use std::{sync::Arc, time::Instant};

/// What every request needs.
pub struct Producer {
    /// Enabled sources and their topics.
    pub topics: Topics,
    /// Tenant written into every envelope.
    pub tenant: String,
    /// Room for bodies.
    pub intake: Intake,
    /// Kafka.
    pub log: Arc<dyn MessageLog>,
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
            .route(
                "/openapi.json",
                web::get().to(|| async { HttpResponse::Ok().json(openapi::document()) }),
            )
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Refusal::NoSuchRoute) }));
    }
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
    params(("source" = openapi::SourceName, Path, description = "Kind of the records")),
    request_body(content = openapi::SyncRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Every record is stored in Kafka", body = openapi::SyncResponse),
        (status = 207, description = "Some records are stored, others are invalid or to be retried", body = openapi::SyncResponse,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry, where a record wants one"))),
        (status = 400, description = "Every record is invalid; or malformed JSON, or a field of the upload itself is wrong, and `error.field` names it", body = openapi::BadRequest),
        (status = 404, description = "Unknown source, or not enabled in the pipeline's region", body = openapi::ErrorResponse),
        (status = 408, description = "The body did not arrive in time", body = openapi::ErrorResponse),
        (status = 413, description = "The body is longer than 1 MiB, packed or unpacked, or its message is too large for Kafka", body = openapi::ErrorResponse),
        (status = 415, description = "Not application/json, or in another content encoding than gzip and zstd", body = openapi::ErrorResponse),
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
    let (upload, room) = producer.read(source, &request, payload).await.inspect_err(|refusal| {
        producer.metrics.refused(source.name(), refusal.code(), 1);
    })?;
    producer.store(source, topic, upload, room).await
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

    /// The upload, and the room of its messages.
    async fn read(&self, source: Source, request: &HttpRequest, payload: Payload) -> Result<(Upload, Room), Refusal> {
        let body = self.intake.read(request, payload).await?;
        let upload = Upload::parse(source, &self.tenant, &body.bytes, Utc::now())?;
        let room = self
            .intake
            .room_for_messages(upload.messages.iter().map(Vec::len).sum())?;
        Ok((upload, room))
    }

    async fn store(&self, source: Source, topic: &str, upload: Upload, room: Room) -> Result<HttpResponse, Refusal> {
        let Upload {
            batch_id,
            user,
            messages,
            records,
        } = upload;
        // What waits for Kafka is counted by the queue to Kafka.
        drop(room);
        let started = Instant::now();
        let outcomes = match messages.is_empty() {
            true => vec![],
            false => self.log.write(topic, &user, messages).await,
        };
        let count = records.len();
        let answer = Answer::new(source, topic, batch_id, records, &outcomes).inspect_err(|refusal| {
            self.metrics.refused(source.name(), refusal.code(), count);
        })?;
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            tracing::debug!(topic, %error, "not acknowledged");
        }
        self.metrics.answered(source.name(), topic, &answer, started.elapsed());
        Ok(answer.response())
    }
}

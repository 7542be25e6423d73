//! The routes, and what becomes of an upload from request to answer.

use crate::{
    intake::Intake,
    kafka::{MessageLog, WriteError, Written},
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
use contract::{Receipt, RecordId, Source, SyncResponse};
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
/// Takes 1 to 1,000 records of one source, of one user and device, and answers once Kafka has acknowledged all of
/// them. An upload is taken as a whole or refused. After a 503 the records may or may not be stored: retry with the
/// same record ids (or, where records have none, the same records), and each is stored once.
#[utoipa::path(
    post,
    path = "/v1/sync/{source}",
    operation_id = "sync",
    tag = "sync",
    params(("source" = openapi::SourceName, Path, description = "Kind of the records")),
    request_body(content = openapi::SyncRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Stored in Kafka", body = openapi::SyncResponse),
        (status = 400, description = "Malformed JSON, or a field is wrong; `field` names it", body = openapi::ErrorResponse),
        (status = 404, description = "Unknown source, or not enabled in the pipeline's region", body = openapi::ErrorResponse),
        (status = 408, description = "The body did not arrive in time", body = openapi::ErrorResponse),
        (status = 413, description = "The body is longer than 1 MiB, or its message is too large for Kafka", body = openapi::ErrorResponse),
        (status = 415, description = "Not application/json, or compressed", body = openapi::ErrorResponse),
        (status = 503, description = "The records may or may not be stored; retrying with the same ids is safe", body = openapi::ErrorResponse,
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
    let upload = producer.read(source, &request, payload).await.inspect_err(|refusal| {
        producer.metrics.refused(source.name(), refusal.code(), 1);
    })?;
    producer
        .store(source, topic, upload)
        .await
        .map(|answer| HttpResponse::Ok().json(answer))
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

    /// The body's room is given back on return: what waits for Kafka is counted by the queue to Kafka.
    async fn read(&self, source: Source, request: &HttpRequest, payload: Payload) -> Result<Upload, Refusal> {
        let body = self.intake.read(request, payload).await?;
        Upload::parse(source, &self.tenant, &body.bytes, Utc::now())
    }

    async fn store(&self, source: Source, topic: &str, upload: Upload) -> Result<SyncResponse, Refusal> {
        let Upload {
            batch_id,
            user,
            messages,
            record_ids,
        } = upload;
        let started = Instant::now();
        match self.log.write(topic, &user, messages).await {
            Ok(written) => {
                self.metrics
                    .accepted(source.name(), topic, record_ids.len(), started.elapsed());
                Ok(SyncResponse {
                    batch_id,
                    receipts: receipts(source, topic, &written, record_ids),
                })
            }
            Err(error) => {
                tracing::debug!(topic, %error, "upload not acknowledged");
                let refusal = Refusal::from(error);
                self.metrics.refused(source.name(), refusal.code(), record_ids.len());
                Err(refusal)
            }
        }
    }
}

/// A receipt a record. The records of a batched source share their message's position and differ by index.
fn receipts(source: Source, topic: &str, written: &Written, record_ids: Vec<RecordId>) -> Vec<Receipt> {
    let place = |number: usize| match source.batched() {
        true => (0, number as i32),
        false => (number, 0),
    };
    record_ids
        .into_iter()
        .enumerate()
        .map(|(number, record_id)| {
            let (message, index) = place(number);
            let position = written.positions[message];
            Receipt {
                cluster: written.cluster.to_string(),
                topic: topic.to_owned(),
                partition: position.partition,
                offset: position.offset,
                index,
                record_id,
            }
        })
        .collect()
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Refusal {
        match error {
            WriteError::QueueFull => Refusal::QueueFull,
            WriteError::TooLarge => Refusal::MessageTooLarge,
            WriteError::Unavailable(_) => Refusal::KafkaUnavailable,
        }
    }
}

//! Sends uploads at the phases' rates, each again and again until it has its answer.
//!
//! The loop is open: an upload goes out when it is due, whether or not earlier ones were answered, as phones do.
//! The number of unanswered ones is bounded; what is due beyond that is counted as withheld.

use crate::phase::Phase;
use crate::tally::{Outcome, Tally};
use crate::traffic::{Traffic, Upload};
use contract::{RecordResult, SyncResponse};
use rand::RngExt;
use reqwest::{StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections go soon, so that new pods behind a Service get their share of new ones.
const IDLE_CONNECTION: Duration = Duration::from_secs(2);
/// First and longest pause before a retry.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Kept length of a refusal's text.
const WORDS: usize = 300;

/// How uploads are delivered.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL of the producer.
    pub target: String,
    /// Most uploads without an answer.
    pub concurrency: usize,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How long unanswered uploads are retried after the last phase.
    pub patience: Duration,
}

/// Sends uploads to one producer.
#[derive(Debug)]
pub struct Delivery {
    settings: Settings,
    client: reqwest::Client,
    tally: Arc<Tally>,
    slots: Arc<Semaphore>,
    give_up: CancellationToken,
}

impl Delivery {
    /// Prepares the HTTP client.
    pub fn new(mut settings: Settings, tally: Arc<Tally>) -> Result<Delivery, reqwest::Error> {
        settings.target.truncate(settings.target.trim_end_matches('/').len());
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .build()?;
        Ok(Delivery {
            slots: Arc::new(Semaphore::new(settings.concurrency)),
            give_up: CancellationToken::new(),
            client,
            settings,
            tally,
        })
    }

    /// Goes through the phases, then waits until every upload has its answer or the patience ends. Ends early when
    /// `stop` is cancelled; unanswered uploads are unknown then.
    pub async fn run(self, traffic: Traffic, phases: Vec<Phase>, stop: CancellationToken) {
        let delivery = Arc::new(self);
        let tasks = TaskTracker::new();
        let mut number = 0;
        for phase in &phases {
            delivery.tally.enter(&phase.name);
            tokio::select! {
                () = delivery.phase(phase, &traffic, &mut number, &tasks) => {}
                () = stop.cancelled() => break,
            }
        }
        tasks.close();
        let answered = tokio::select! {
            answered = timeout(delivery.settings.patience, tasks.wait()) => answered.is_ok(),
            () = stop.cancelled() => false,
        };
        if !answered {
            delivery.give_up.cancel();
            tasks.wait().await;
        }
        delivery.tally.finish();
    }

    async fn phase(self: &Arc<Self>, phase: &Phase, traffic: &Traffic, number: &mut u64, tasks: &TaskTracker) {
        if phase.duration.is_zero() {
            // All slots free: everything so far has its answer.
            let all = u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX);
            drop(self.slots.acquire_many(all).await);
            return;
        }
        let began = Instant::now();
        let end = began + phase.duration;
        let total = (phase.rate * phase.duration.as_secs_f64()).floor() as u64;
        for due in 0..total {
            sleep_until(began + Duration::from_secs_f64(due as f64 / phase.rate)).await;
            let Ok(Ok(slot)) = timeout_at(end, Arc::clone(&self.slots).acquire_owned()).await else {
                self.tally.withhold(total - due);
                return;
            };
            let upload = traffic.upload(*number, phase.records);
            *number += 1;
            if self.tally.is_skipped(upload.source) {
                continue;
            }
            let delivery = Arc::clone(self);
            tasks.spawn(async move {
                delivery.deliver(upload).await;
                drop(slot);
            });
        }
        sleep_until(end).await;
    }

    async fn deliver(&self, upload: Upload) {
        let url = format!("{}/v1/sync/{}", self.settings.target, upload.source);
        let body = match serde_json::to_vec(&upload.request) {
            Ok(body) => body,
            Err(error) => return self.tally.ended(upload.source, Outcome::Refused(error.to_string())),
        };
        self.tally.sent(upload.source);
        let outcome = tokio::select! {
            outcome = self.until_answered(&upload, &url, body) => outcome,
            () = self.give_up.cancelled() => Outcome::Unknown,
        };
        self.tally.ended(upload.source, outcome);
    }

    async fn until_answered(&self, upload: &Upload, url: &str, body: Vec<u8>) -> Outcome {
        let mut pause = BACKOFF.0;
        loop {
            let wish = match self.attempt(upload, url, body.clone()).await {
                Answer::Final(outcome) => return outcome,
                Answer::Again { after, reason } => {
                    tracing::debug!(source = %upload.source, upload = upload.number, reason, "will be sent again");
                    after
                }
            };
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            sleep(jittered.max(wish.min(BACKOFF.1))).await;
            pause = (pause * 2).min(BACKOFF.1);
            self.tally.retried(upload.source);
        }
    }

    async fn attempt(&self, upload: &Upload, url: &str, body: Vec<u8>) -> Answer {
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Answer::again(format!("no answer: {error}")),
        };
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Answer::Again {
                after: retry_after(&response),
                reason: format!("answer {status}"),
            };
        }
        if status.is_success() {
            let after = retry_after(&response);
            return match response.json::<SyncResponse>().await {
                // Records that are stored already keep their identity: the whole upload goes out again.
                Ok(answer) if answer.has_retry() => Answer::Again {
                    after,
                    reason: "not all records are acknowledged".to_owned(),
                },
                Ok(answer) => Answer::Final(accepted(upload, answer)),
                Err(error) => Answer::again(format!("unreadable answer: {error}")),
            };
        }
        match response.text().await {
            Ok(text) => Answer::Final(refused(status, &text)),
            Err(error) => Answer::again(format!("unreadable answer {status}: {error}")),
        }
    }
}

/// What one attempt led to.
#[derive(Debug)]
enum Answer {
    Final(Outcome),
    Again { after: Duration, reason: String },
}

impl Answer {
    fn again(reason: String) -> Answer {
        Answer::Again {
            after: Duration::ZERO,
            reason,
        }
    }
}

fn retry_after(response: &reqwest::Response) -> Duration {
    let seconds = response.headers().get(header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn accepted(upload: &Upload, answer: SyncResponse) -> Outcome {
    let (receipts, records) = (answer.receipts().count(), upload.request.records.len());
    if receipts == records {
        return Outcome::Accepted(answer);
    }
    let invalid = answer.results.iter().find_map(|result| match result {
        RecordResult::Invalid { field, problem } => Some(format!("{field}: {problem}")),
        _ => None,
    });
    Outcome::Refused(invalid.unwrap_or_else(|| format!("{receipts} receipts for {records} records")))
}

fn refused(status: StatusCode, text: &str) -> Outcome {
    let words: String = text.chars().take(WORDS).collect();
    if status == StatusCode::NOT_FOUND && text.contains("region") {
        Outcome::NotInRegion(words)
    } else {
        Outcome::Refused(format!("{status}: {words}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Mix;
    use actix_web::web::{self, Json};
    use actix_web::{App, HttpResponse, HttpServer};
    use chrono::DateTime;
    use contract::{Receipt, SyncRequest};
    use std::collections::HashMap;
    use std::sync::Mutex;
    use uuid::Uuid;

    /// Batches that the producer stand-in saw, with the number of times.
    type Seen = web::Data<Mutex<HashMap<Uuid, (u32, Vec<serde_json::Value>)>>>;

    /// Answers 503 to the first sight of an upload and leaves a record out at the second, refuses contacts for ever and has no calls in its region.
    async fn answer(source: web::Path<String>, request: Json<SyncRequest>, seen: Seen) -> HttpResponse {
        let request = request.into_inner();
        match source.as_str() {
            "contacts" => return HttpResponse::BadRequest().body("records[0].name: is missing"),
            "call_logs" => return HttpResponse::NotFound().body("call_logs are not taken in region India"),
            _ => {}
        }
        let batch_id = request.batch_id.unwrap();
        let mut seen = seen.lock().unwrap();
        let (times, records) = seen.entry(batch_id).or_insert((0, request.records.clone()));
        assert_eq!(*records, request.records, "a retry sends the same records");
        *times += 1;
        if *times == 1 {
            return HttpResponse::ServiceUnavailable()
                .insert_header(("Retry-After", "0"))
                .finish();
        }
        let receipt = |index: usize| Receipt {
            cluster: "c".into(),
            topic: "t".into(),
            partition: 0,
            offset: i64::from(*times),
            index: index as i32,
            record_id: Uuid::new_v5(&batch_id, &index.to_be_bytes()),
        };
        let stored = |index| RecordResult::Stored {
            receipt: receipt(index),
        };
        let mut results: Vec<RecordResult> = (0..records.len()).map(stored).collect();
        if *times == 2 {
            results[0] = RecordResult::Retry {
                reason: "queue_full".to_owned(),
            };
            return HttpResponse::MultiStatus().json(SyncResponse { batch_id, results });
        }
        HttpResponse::Ok().json(SyncResponse { batch_id, results })
    }

    fn settings(target: String, patience: Duration) -> Settings {
        Settings {
            target,
            concurrency: 16,
            timeout: Duration::from_secs(5),
            patience,
        }
    }

    async fn run(target: String, mix: &str, phases: &[&str], patience: Duration) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let delivery = Delivery::new(settings(target, patience), Arc::clone(&tally)).unwrap();
        let traffic = Traffic::new(7, DateTime::UNIX_EPOCH, mix.parse::<Mix>().unwrap());
        let phases = phases.iter().map(|phase| phase.parse().unwrap()).collect();
        delivery.run(traffic, phases, CancellationToken::new()).await;
        tally
    }

    #[actix_web::test]
    async fn every_upload_is_sent_until_it_has_its_answer() {
        let seen = Seen::new(Mutex::default());
        let shared = seen.clone();
        let server = HttpServer::new(move || {
            let app = App::new().app_data(shared.clone());
            app.route("/v1/sync/{source}", web::post().to(answer))
        });
        let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
        let target = format!("http://{}/", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);

        let phases = ["one:1s@30x3", "answers:0s@0"];
        let patience = Duration::from_secs(20);
        let tally = run(target.clone(), "sms=1,events=1", &phases, patience).await;
        let progress = tally.progress();
        assert_eq!(progress.total.sent, 30);
        assert_eq!(progress.total.accepted, 30);
        assert_eq!(progress.total.retried, 60);
        assert_eq!(progress.total.records, 90);
        assert_eq!(progress.withheld, 0);
        assert!(progress.finished);
        assert_eq!(tally.receipts(0, 1000).len(), 90);
        assert!(seen.lock().unwrap().values().all(|(times, _)| *times == 3));

        let tally = run(target, "contacts=1,call_logs=1", &["one:500ms@40"], patience).await;
        let progress = tally.progress();
        assert_eq!(
            progress.total.sent, progress.total.refused,
            "calls do not count, contacts are refused"
        );
        assert_eq!(
            progress.refusals[0],
            "contacts: 400 Bad Request: records[0].name: is missing"
        );
        assert_eq!(
            progress.skipped[&contract::Source::CallLogs],
            "call_logs are not taken in region India"
        );
        handle.stop(false).await;
    }

    #[test]
    fn an_upload_with_an_invalid_record_is_refused_in_the_producers_words() {
        let traffic = Traffic::new(7, DateTime::UNIX_EPOCH, "sms=1".parse::<Mix>().unwrap());
        let answer = SyncResponse {
            batch_id: Uuid::nil(),
            results: vec![RecordResult::Invalid {
                field: "records[0].body".to_owned(),
                problem: "is missing".to_owned(),
            }],
        };
        let outcome = accepted(&traffic.upload(0, Some(1)), answer);
        assert!(
            matches!(&outcome, Outcome::Refused(words) if words == "records[0].body: is missing"),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn without_a_producer_uploads_become_unknown_and_the_rest_is_withheld() {
        // Nothing listens on a port that was bound and given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let target = format!("http://127.0.0.1:{port}");
        let tally = run(target, "sms=1", &["one:200ms@200"], Duration::from_millis(200)).await;
        let progress = tally.progress();
        assert_eq!(progress.total.unknown, 16, "one for each slot");
        assert_eq!(progress.total.accepted, 0);
        assert_eq!(progress.withheld, 24);
        assert!(progress.finished);
    }
}

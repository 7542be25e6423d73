//! Phones: they upload all the time, choose one of the producers, and try the other one where they get no clear answer.
//!
//! Half of the uploads have an idempotency key. Some phones give up after the first unclear answer, and nobody knows
//! what became of their records; some send an upload again that was accepted.

use crate::stage::{PRODUCERS, Stage, TENANT};
use anyhow::{Context, Result, bail, ensure};
use chrono::Utc;
use contract::http::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAY};
use contract::{Receipt, RecordId, RecordResult, Source, SyncResponse, identity};
use generator::traffic::{Mix, Traffic, Upload};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Uploads a second: some 180 records.
const RATE: f64 = 25.0;
/// Most uploads without an answer; what is due beyond that is left out.
const CONCURRENCY: usize = 400;
/// Shorter than the producer's own patience with Kafka, so that answers come too late for some.
const ANSWER: Duration = Duration::from_secs(6);
const CONNECT: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for the answers to what was sent. A producer that dies keeps its claim on a key for 30 seconds.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// Shares of the uploads.
const KEYED: f64 = 0.5;
const FICKLE: f64 = 0.1;
const REPEATED: f64 = 0.05;

/// Where an accepted record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Accepted {
    pub(crate) source: Source,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) index: i32,
    pub(crate) record_id: RecordId,
}

/// What became of the uploads.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Every record that went out, whatever became of it.
    pub(crate) records: HashSet<(Source, RecordId)>,
    /// Every receipt; of a record that was sent twice more than one.
    pub(crate) receipts: Vec<Accepted>,
    /// Answers of each producer that accepted an upload.
    pub(crate) accepted_by: [u64; PRODUCERS],
    pub(crate) uploads: u64,
    pub(crate) retries: u64,
    /// Uploads that were given up without a clear answer.
    pub(crate) unknown: u64,
    pub(crate) repeats: u64,
    /// Answers that were kept ones.
    pub(crate) replays: u64,
    /// Answers that should not be.
    pub(crate) wrong: Vec<String>,
}

/// The phones.
pub(crate) struct Load {
    shared: Arc<Shared>,
    is_on: watch::Sender<bool>,
    sending: tokio::task::JoinHandle<()>,
}

struct Shared {
    client: reqwest::Client,
    targets: Vec<String>,
    cluster: String,
    seed: u64,
    traffic: Traffic,
    slots: Arc<Semaphore>,
    sent: Mutex<Sent>,
    give_up: Mutex<CancellationToken>,
}

impl Load {
    /// Begins at once.
    pub(crate) fn start(stage: &Stage, seed: u64) -> Result<Load> {
        let shared = Arc::new(Shared {
            client: reqwest::Client::builder()
                .connect_timeout(CONNECT)
                .timeout(ANSWER)
                .build()?,
            targets: stage
                .producers()
                .iter()
                .map(|producer| format!("http://{}", producer.address))
                .collect(),
            cluster: stage.cluster.clone(),
            seed,
            traffic: Traffic::new(seed, Utc::now(), Mix::default()),
            slots: Arc::new(Semaphore::new(CONCURRENCY)),
            sent: Mutex::default(),
            give_up: Mutex::default(),
        });
        let (is_on, on) = watch::channel(true);
        let sending = tokio::spawn(shared.clone().send(on));
        Ok(Load { shared, is_on, sending })
    }

    /// What became of the uploads until now.
    pub(crate) fn sent(&self) -> MutexGuard<'_, Sent> {
        self.shared.sent()
    }

    /// No new uploads; waits until every one that was sent has its answer or was given up.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.is_on.send_replace(false);
        let all = u32::try_from(CONCURRENCY)?;
        let answered = timeout(LAST_ANSWERS, self.shared.slots.acquire_many(all)).await;
        if answered.is_err() {
            self.shared.give_up().cancel();
            drop(self.shared.slots.acquire_many(all).await?);
            *self.shared.give_up() = CancellationToken::new();
        }
        Ok(())
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.is_on.send_replace(true);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.sending.abort();
        self.shared.give_up().cancel();
    }
}

/// How an upload ended.
enum Ended {
    Accepted,
    Unknown,
}

/// What an attempt led to.
enum Answer {
    Accepted(SyncResponse),
    /// Perhaps stored. Worth another attempt after this time.
    Unclear(Duration),
}

impl Shared {
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) -> MutexGuard<'_, CancellationToken> {
        self.give_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One upload after the other, each when it is due.
    async fn send(self: Arc<Shared>, mut on: watch::Receiver<bool>) {
        let mut due = interval(Duration::from_secs_f64(1.0 / RATE));
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0.. {
            if on.wait_for(|on| *on).await.is_err() {
                return;
            }
            due.tick().await;
            // It may have been turned off meanwhile.
            if !*on.borrow() {
                continue;
            }
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                let (shared, given_up) = (self.clone(), self.give_up().clone());
                tokio::spawn(async move {
                    shared.deliver(number, &given_up).await;
                    drop(slot);
                });
            }
        }
    }

    async fn deliver(&self, number: u64, given_up: &CancellationToken) {
        // A phone's habits depend on the upload alone, whatever happened to others.
        let mut habits = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let upload = self.traffic.upload(number, None);
        let key = habits.random_bool(KEYED).then(|| format!("{}-{number}", self.seed));
        let is_fickle = habits.random_bool(FICKLE);
        let is_repeated = habits.random_bool(REPEATED);
        let target = habits.random_range(0..self.targets.len());
        let body = match serde_json::to_vec(&upload.request) {
            Ok(body) => body,
            Err(error) => return self.sent().wrong.push(error.to_string()),
        };
        {
            let mut sent = self.sent();
            sent.uploads += 1;
            sent.records.extend(ids(&upload));
        }
        let attempts = async {
            let ended = self
                .until_answered(&upload, key.as_deref(), &body, target, is_fickle)
                .await?;
            if is_repeated && matches!(ended, Ended::Accepted) {
                self.sent().repeats += 1;
                let other = (target + 1) % self.targets.len();
                return self.until_answered(&upload, key.as_deref(), &body, other, true).await;
            }
            Ok(ended)
        };
        let outcome = tokio::select! {
            outcome = attempts => outcome,
            () = given_up.cancelled() => Ok(Ended::Unknown),
        };
        match outcome {
            Ok(Ended::Accepted) => {}
            Ok(Ended::Unknown) => self.sent().unknown += 1,
            Err(error) => self
                .sent()
                .wrong
                .push(format!("upload {number} of {}: {error:#}", upload.source)),
        }
    }

    async fn until_answered(
        &self,
        upload: &Upload,
        key: Option<&str>,
        body: &[u8],
        mut target: usize,
        is_fickle: bool,
    ) -> Result<Ended> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.attempt(upload, key, body, target).await? {
                Answer::Accepted(answer) => {
                    self.keep(upload, answer, target)?;
                    return Ok(Ended::Accepted);
                }
                Answer::Unclear(_) if is_fickle => return Ok(Ended::Unknown),
                Answer::Unclear(wish) => sleep(pause.max(wish.min(LONGEST_PAUSE))).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            target = (target + 1) % self.targets.len();
            self.sent().retries += 1;
        }
    }

    /// One request to one producer. An error is an answer that no fault excuses.
    async fn attempt(&self, upload: &Upload, key: Option<&str>, body: &[u8], target: usize) -> Result<Answer> {
        let url = format!("{}/v1/sync/{}", self.targets[target], upload.source);
        let mut request = self.client.post(url).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let Ok(answer) = request.body(body.to_vec()).send().await else {
            return Ok(Answer::Unclear(Duration::ZERO));
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Ok(text) = answer.text().await else {
            return Ok(Answer::Unclear(Duration::ZERO));
        };
        let seconds = headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let wish = Duration::from_secs(seconds.unwrap_or(0));
        match status {
            StatusCode::OK | StatusCode::MULTI_STATUS => {
                let answer: SyncResponse = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
                if headers.contains_key(IDEMPOTENT_REPLAY) {
                    self.sent().replays += 1;
                }
                if answer.has_retry() {
                    return Ok(Answer::Unclear(wish));
                }
                Ok(Answer::Accepted(answer))
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => {
                Ok(Answer::Unclear(wish))
            }
            _ => bail!("{status}: {text}"),
        }
    }

    fn keep(&self, upload: &Upload, answer: SyncResponse, target: usize) -> Result<()> {
        let ids: Vec<(Source, RecordId)> = ids(upload).collect();
        ensure!(
            answer.results.len() == ids.len(),
            "{} results for {} records",
            answer.results.len(),
            ids.len()
        );
        let mut receipts = Vec::with_capacity(ids.len());
        for (result, (source, id)) in answer.results.into_iter().zip(ids) {
            let receipt = match result {
                RecordResult::Stored { receipt } => receipt,
                other => bail!("a good record is answered with {other:?}"),
            };
            receipts.push(self.accepted(source, id, receipt)?);
        }
        let mut sent = self.sent();
        sent.accepted_by[target] += 1;
        sent.receipts.extend(receipts);
        Ok(())
    }

    fn accepted(&self, source: Source, id: RecordId, receipt: Receipt) -> Result<Accepted> {
        let names_it = receipt.record_id == id && receipt.topic == source.topic() && receipt.cluster == self.cluster;
        ensure!(names_it, "the receipt of {source} record {id} is {receipt:?}");
        Ok(Accepted {
            source,
            partition: receipt.partition,
            offset: receipt.offset,
            index: receipt.index,
            record_id: id,
        })
    }
}

/// Identities of an upload's records, in their order.
fn ids(upload: &Upload) -> impl Iterator<Item = (Source, RecordId)> {
    let request = &upload.request;
    request.records.iter().map(|record| {
        let id = identity::record_id(TENANT, upload.source, &request.user, &request.device, record);
        (upload.source, id)
    })
}

/// Waits until each producer has accepted this many uploads more than before.
pub(crate) async fn until_each_accepts(load: &Load, more: u64, limit: Duration) -> Result<()> {
    let before = load.sent().accepted_by;
    let started = Instant::now();
    loop {
        let now = load.sent().accepted_by;
        let mut both = before.iter().zip(now);
        if both.all(|(before, now)| now >= before + more) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < limit,
            "uploads accepted by each producer: {before:?} before, {now:?} after {} s",
            limit.as_secs()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

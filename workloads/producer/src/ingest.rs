//! From an upload that is read to its answer: whether it is a repeat, whether the quota has room, and then Kafka.

use crate::{
    answer::{Answer, Asked},
    idempotency::{Answers, Claim, Kept, end::End, request::RepeatableRequest},
    intake::Room,
    kafka::MessageLog,
    keys::Key,
    metrics::ProducerMetrics,
    quota::Quotas,
    refusal::Refusal,
    upload::Upload,
};
use contract::Source;
use std::{sync::Arc, time::Instant};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// What an upload needs once it is read.
pub struct Ingest {
    /// Kafka.
    pub log: Arc<dyn MessageLog>,
    /// What each key may still upload; no limits where there is none.
    pub quotas: Option<Arc<Quotas>>,
    /// Answers kept for repeats; none are where there is nowhere to keep them.
    pub answers: Option<Arc<dyn Answers>>,
    /// Collectors.
    pub metrics: ProducerMetrics,
    /// Uploads that go on when their clients have gone.
    pub tasks: TaskTracker,
    /// Where they do: an HTTP worker ends with its connections.
    pub runtime: Handle,
}

/// An upload that is read.
pub struct Job {
    /// What is synced.
    pub source: Source,
    /// Where it goes.
    pub topic: String,
    /// Whose it is, where that is asked.
    pub key: Option<Arc<Key>>,
    /// The upload.
    pub upload: Upload,
    /// Its memory.
    pub rooms: Rooms,
    /// What it is called, where it may be repeated.
    pub repeatable: Option<RepeatableRequest>,
}

/// The memory of what an upload becomes.
#[derive(Debug)]
pub struct Rooms {
    /// Of its messages, until they wait for Kafka.
    pub messages: Room,
    /// Of all that is told about it, until that is sent.
    pub answer: Room,
}

/// What the client is told, and the memory of it.
#[derive(Debug)]
pub struct Reply {
    /// What it is told.
    pub said: Said,
    /// The memory, until it is sent, and kept.
    pub room: Arc<Room>,
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// What became of its records.
    New(Answer),
    /// What it was told, or was to be told, the first time.
    Repeated(Kept),
}

impl Ingest {
    /// Does it. One that may be repeated is done to its end even where its client goes away: that client comes back.
    pub async fn take(self: &Arc<Ingest>, job: Job) -> Result<Reply, Refusal> {
        let (source, records) = (job.source, job.upload.records.len());
        let outcome = match job.repeatable.clone() {
            None => self.once(job).await.map(|(answer, room)| Reply {
                said: Said::New(answer),
                room: Arc::new(room),
            }),
            Some(request) => {
                let ingest = self.clone();
                let task = async move { ingest.repeatable(request, job).await };
                let task = self.tasks.spawn_on(task, &self.runtime);
                // A task that panicked, or a process at its end.
                task.await.unwrap_or(Err(Refusal::Busy))
            }
        };
        match outcome.as_ref().map(|reply| &reply.said) {
            Ok(Said::New(_)) => {}
            Ok(Said::Repeated(_)) => self.metrics.replayed(source.name()),
            Err(refusal) => self.metrics.refused(source.name(), refusal.code(), records),
        }
        outcome
    }

    async fn repeatable(&self, request: RepeatableRequest, job: Job) -> Result<Reply, Refusal> {
        let answers = self.answers.clone().ok_or(Refusal::NothingKept)?;
        let claimed = Instant::now();
        let claim = match answers.claim(request.clone()).await? {
            Claim::Ours(claim) => claim,
            Claim::Answered(kept) => {
                return Ok(Reply {
                    said: Said::Repeated(kept),
                    // Whatever was told the first time, it was about the same records.
                    room: Arc::new(job.rooms.answer),
                });
            }
            Claim::UnderWay { seconds } => return Err(Refusal::UnderWay { seconds }),
            Claim::OtherRequest => return Err(Refusal::OtherRequest),
        };
        let outcome = self.once(job).await.map(|(answer, room)| (answer, Arc::new(room)));
        let (answer, room) = match &outcome {
            // A refusal is not the last word.
            Err(_) => (None, None),
            Ok((answer, room)) => (answer.is_to_be_kept().then(|| answer.kept()), Some(room.clone())),
        };
        let end = End {
            request,
            claim,
            claimed: claimed.into(),
            answer,
            room,
        };
        self.end(end, answers).await;
        outcome.map(|(answer, room)| Reply {
            said: Said::New(answer),
            room,
        })
    }

    /// Notes it before the client is answered, who may ask again at once; or after that, where it cannot be noted yet.
    async fn end(&self, end: End, answers: Arc<dyn Answers>) {
        if let Err(error) = end.note(answers.as_ref()).await {
            tracing::debug!(%error, "the end of a repeatable request is not noted yet");
            self.tasks.spawn_on(end.note_later(answers), &self.runtime);
        }
    }

    /// The answer, and its room.
    async fn once(&self, job: Job) -> Result<(Answer, Room), Refusal> {
        let Job {
            source,
            topic,
            key,
            upload,
            rooms,
            ..
        } = job;
        let good = upload.good();
        let taken = match (&self.quotas, &key) {
            (Some(quotas), Some(key)) => quotas.take(key, good).await?,
            _ => None,
        };
        let Upload {
            batch_id,
            user,
            messages,
            records,
            alone,
            ..
        } = upload;
        // What waits for Kafka is counted by the queue to Kafka.
        drop(rooms.messages);
        let started = Instant::now();
        let outcomes = match messages.is_empty() {
            true => vec![],
            false => self.log.write(&topic, &user, messages).await,
        };
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            tracing::debug!(topic, %error, "not acknowledged");
        }
        let duration = started.elapsed();
        let answer = Answer::new(source, topic, batch_id, Asked { records, alone }, outcomes);
        if let Some(taken) = taken {
            let stored = answer.as_ref().map_or(0, Answer::stored);
            taken.give_back(good - stored).await;
        }
        let answer = answer?;
        self.metrics.answered(source.name(), &answer, duration);
        Ok((answer, rooms.answer))
    }
}

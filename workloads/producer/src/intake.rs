//! Reading a body within bounds. Type and size are checked before the first byte is read, memory is set aside as bytes
//! arrive, and a client that dribbles is cut off.

use crate::{encoding::Encoding, outbox::Outbox, refusal::Refusal};
use actix_web::{
    HttpMessage, HttpRequest,
    http::header,
    web::{Bytes, Payload},
};
use contract::message::MAX_BODY;
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// KiB of arriving bodies that may be in memory at the same time, as many of what they become, as many of
/// answers that are not ready, and as many of those that are sent.
const ROOM_KBYTES: usize = 64 * 1024;
/// Longest wait for room before the client is asked to come back.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// Longest time a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Room for bodies and answers, shared by all HTTP workers.
#[derive(Debug, Clone)]
pub struct Intake {
    /// For bodies that arrive, packed or not: slow clients stay in here.
    arriving: Arc<Semaphore>,
    /// For unpacked bodies and messages, apart so that what is there already need not wait for what comes in.
    arrived: Arc<Semaphore>,
    /// For what is told of uploads, from the check of their records until that is sent.
    answers: Arc<Semaphore>,
    /// From which it is sent.
    pub outbox: Outbox,
    room_wait: Duration,
    body_timeout: Duration,
}

/// A body and the room it takes up until it is dropped.
#[derive(Debug)]
pub struct Body {
    /// The bytes, unpacked.
    pub bytes: Bytes,
    /// Their room.
    pub room: Room,
}

/// Memory that is set aside until this is dropped.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Default for Intake {
    fn default() -> Intake {
        Intake::new(ROOM_KBYTES, ROOM_WAIT, BODY_TIMEOUT)
    }
}

impl Intake {
    /// Room for `kbytes` KiB of each: bodies, what they become, answers, and answers on their way.
    pub fn new(kbytes: usize, room_wait: Duration, body_timeout: Duration) -> Intake {
        Intake {
            arriving: Arc::new(Semaphore::new(kbytes)),
            arrived: Arc::new(Semaphore::new(kbytes)),
            answers: Arc::new(Semaphore::new(kbytes)),
            outbox: Outbox::new(kbytes * 1024),
            room_wait,
            body_timeout,
        }
    }

    /// The request's body, or why it is not read.
    pub async fn read(&self, request: &HttpRequest, payload: Payload) -> Result<Body, Refusal> {
        check_type(request)?;
        let encoding = Encoding::of(request.headers())?;
        let announced = announced_length(request)?;
        let (bytes, room) = timeout(self.body_timeout, self.collect(payload, announced))
            .await
            .map_err(|_| Refusal::BodyTooSlow {
                seconds: self.body_timeout.as_secs(),
            })??;
        if encoding == Encoding::Identity {
            return Ok(Body { bytes, room });
        }
        let unpacked = self.room(&self.arrived, MAX_BODY).await?;
        let bytes = encoding.unpack(&bytes, MAX_BODY)?;
        Ok(Body {
            room: unpacked.shrunk(bytes.len()),
            bytes,
        })
    }

    /// The body, with room for as much of it as has arrived: who only says that there will be one takes up none. The
    /// beginning may wait for room. What has begun does not, so that bodies do not wait for one another.
    async fn collect(&self, mut payload: Payload, announced: Option<usize>) -> Result<(Bytes, Room), Refusal> {
        let most = announced.unwrap_or(MAX_BODY);
        let mut whole = None;
        let mut arrived: Option<(Vec<u8>, Room)> = None;
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
            let (mut body, mut room) = match arrived.take() {
                Some(begun) => begun,
                None => (Vec::new(), self.room(&self.arriving, chunk.len()).await?),
            };
            // Most bodies are short enough to come in one piece, and need not be copied.
            if body.is_empty() && announced == Some(chunk.len()) {
                whole = Some((chunk, room));
                continue;
            }
            let length = body.len() + chunk.len();
            if length > MAX_BODY {
                return Err(Refusal::BodyTooLarge { limit: MAX_BODY });
            }
            if length > body.capacity() {
                // Doubled as usual, but never beyond the end.
                let capacity = (body.capacity() * 2).clamp(length, most.max(length));
                room.grow(&self.arriving, capacity)?;
                body.reserve_exact(capacity - body.len());
            }
            body.extend_from_slice(&chunk);
            arrived = Some((body, room));
        }
        match (whole, arrived) {
            (Some(whole), _) => Ok(whole),
            (None, Some((body, room))) => Ok((body.into(), room)),
            (None, None) => Ok((Bytes::new(), self.room(&self.arriving, 0).await?)),
        }
    }

    /// Room for the messages that a body became, in place of the body's own. Nothing waits here, so that what is in
    /// memory already cannot wait for itself.
    pub fn room_for_messages(&self, bytes: usize) -> Result<Room, Refusal> {
        let room = self.arrived.clone().try_acquire_many_owned(kbytes(bytes));
        room.map(Room).map_err(|_| Refusal::Busy)
    }

    /// Room for all that is told of an upload. Nothing waits here either.
    pub fn room_for_answer(&self, bytes: usize) -> Result<Room, Refusal> {
        let room = self.answers.clone().try_acquire_many_owned(kbytes(bytes));
        room.map(Room).map_err(|_| Refusal::Busy)
    }

    async fn room(&self, room: &Arc<Semaphore>, bytes: usize) -> Result<Room, Refusal> {
        let room = timeout(self.room_wait, room.clone().acquire_many_owned(kbytes(bytes))).await;
        let room = room.map_err(|_| Refusal::Busy)?;
        room.map(Room).map_err(|_| Refusal::Busy)
    }
}

impl Room {
    /// Takes what `bytes` need more, if it is free.
    fn grow(&mut self, of: &Arc<Semaphore>, bytes: usize) -> Result<(), Refusal> {
        let more = kbytes(bytes).saturating_sub(u32::try_from(self.0.num_permits()).unwrap_or(u32::MAX));
        let more = of.clone().try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
        self.0.merge(more);
        Ok(())
    }

    /// Gives back what is more than `bytes` need.
    fn shrunk(mut self, bytes: usize) -> Room {
        let more = self.0.num_permits().saturating_sub(kbytes(bytes) as usize);
        drop(self.0.split(more));
        self
    }
}

/// Whole KiB, one at least.
fn kbytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

fn check_type(request: &HttpRequest) -> Result<(), Refusal> {
    let mime = request.mime_type().ok().flatten().ok_or(Refusal::MediaType)?;
    let utf8 = mime.get_param("charset").is_none_or(|charset| charset == "utf-8");
    if mime.essence_str() != "application/json" || !utf8 {
        return Err(Refusal::MediaType);
    }
    Ok(())
}

fn announced_length(request: &HttpRequest) -> Result<Option<usize>, Refusal> {
    let Some(length) = request.headers().get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = length
        .to_str()
        .ok()
        .and_then(|length| length.parse::<u64>().ok())
        .ok_or(Refusal::BodyBroken)?;
    match usize::try_from(length) {
        Ok(length) if length <= MAX_BODY => Ok(Some(length)),
        _ => Err(Refusal::BodyTooLarge { limit: MAX_BODY }),
    }
}

//! Long answers on their way to clients: handed to the server piece by piece as the client takes them, and in a bound of
//! memory. Where a new one has no room, the one that is on its way for longest is dropped, and its connection with it: a
//! client that does not read its answer keeps nobody else from theirs.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
    web::Bytes,
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

/// Bytes handed over at a time. The server asks for more while it has less than a few of these to send, and copies them:
/// an answer of one piece is as good as sent.
const PIECE: usize = 8 * 1024;

/// The answers on their way. Clones share them.
#[derive(Debug, Clone)]
pub struct Outbox {
    most: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// What is not handed over yet, the oldest first.
    rests: BTreeMap<u64, Rest>,
    /// Of all of them, as long as they were at the beginning: that much of each is in memory to its end.
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Rest {
    text: Bytes,
    whole: usize,
}

/// The server's end of an answer.
#[derive(Debug)]
struct Handover {
    outbox: Outbox,
    number: u64,
    length: u64,
}

/// The answer was dropped for newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client did not take its answer before others needed the room")]
struct Dropped;

impl Outbox {
    /// For `most` bytes.
    pub fn new(most: usize) -> Outbox {
        Outbox {
            most,
            under_way: Arc::default(),
        }
    }

    /// The response with this text.
    pub fn send(&self, mut response: HttpResponseBuilder, text: Bytes) -> HttpResponse {
        match text.len() {
            0..=PIECE => response.body(text),
            _ => response.body(self.add(text)),
        }
    }

    fn add(&self, text: Bytes) -> Handover {
        let whole = text.len();
        let mut under_way = self.under_way();
        while under_way.bytes + whole > self.most && under_way.drop_oldest() {}
        let number = under_way.next;
        under_way.next += 1;
        under_way.bytes += whole;
        under_way.rests.insert(number, Rest { text, whole });
        Handover {
            outbox: self.clone(),
            number,
            length: whole as u64,
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.rests.pop_first();
        if let Some((_, rest)) = &oldest {
            self.bytes -= rest.whole;
        }
        oldest.is_some()
    }
}

impl MessageBody for Handover {
    type Error = Dropped;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Dropped>>> {
        let mut under_way = self.outbox.under_way();
        let Some(Rest { text, .. }) = under_way.rests.get_mut(&self.number) else {
            return Poll::Ready(Some(Err(Dropped)));
        };
        let piece = text.split_to(text.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let mut under_way = self.outbox.under_way();
        if let Some(rest) = under_way.rests.remove(&self.number) {
            under_way.bytes -= rest.whole;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    fn text(length: usize) -> Bytes {
        let bytes: Vec<u8> = (0..length).map(|number| number as u8).collect();
        bytes.into()
    }

    async fn next(answer: &mut Handover) -> Option<Result<Bytes, Dropped>> {
        std::future::poll_fn(|context| Pin::new(&mut *answer).poll_next(context)).await
    }

    #[tokio::test]
    async fn all_of_an_answer_is_handed_over_in_pieces() {
        let outbox = Outbox::new(100 * PIECE);
        for length in [1, PIECE, PIECE + 1, 3 * PIECE] {
            let response = outbox.send(HttpResponse::Ok(), text(length));
            assert_eq!(response.body().size(), BodySize::Sized(length as u64));
            assert_eq!(to_bytes(response.into_body()).await.unwrap(), text(length));
        }
        let under_way = outbox.under_way();
        assert_eq!((under_way.bytes, under_way.rests.len()), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_answer_makes_room_for_new_ones() {
        let outbox = Outbox::new(6 * PIECE);
        let mut answers: Vec<Handover> = (0..3).map(|_| outbox.add(text(2 * PIECE))).collect();
        assert_eq!(next(&mut answers[0]).await, Some(Ok(text(PIECE))));
        let mut new = outbox.add(text(3 * PIECE));
        assert!(outbox.under_way().bytes <= 6 * PIECE);
        assert_eq!(next(&mut answers[0]).await, Some(Err(Dropped)));
        assert_eq!(next(&mut answers[1]).await, Some(Err(Dropped)));
        assert_eq!(next(&mut answers[2]).await, Some(Ok(text(PIECE))));
        assert_eq!(next(&mut new).await, Some(Ok(text(PIECE))));
        drop((answers, new));
        assert_eq!(outbox.under_way().bytes, 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_longer_than_all_the_room_is_sent_alone() {
        let outbox = Outbox::new(PIECE);
        let _others = outbox.add(text(PIECE));
        let response = outbox.send(HttpResponse::Ok(), text(4 * PIECE));
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), text(4 * PIECE));
    }
}

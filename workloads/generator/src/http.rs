//! `GET /progress` and `GET /receipts`.

use crate::tally::{Progress, Tally};
use actix_web::web::{Bytes, Data, Json, ServiceConfig};
use actix_web::{HttpResponse, get};
use futures::stream;
use std::convert::Infallible;

/// Receipts in one piece of the answer.
const PIECE: usize = 2_000;

/// Adds the two routes over `tally`.
pub fn routes(tally: Data<Tally>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(tally).service(progress).service(receipts);
    }
}

#[get("/progress")]
async fn progress(tally: Data<Tally>) -> Json<Progress> {
    Json(tally.progress())
}

/// One JSON object a line, see [`crate::tally::AcceptedRecord`]: all receipts up to now.
#[get("/receipts")]
async fn receipts(tally: Data<Tally>) -> HttpResponse {
    let pieces = stream::unfold((tally, 0), |(tally, from)| async move {
        let receipts = tally.receipts(from, PIECE);
        if receipts.is_empty() {
            return None;
        }
        let mut piece = Vec::with_capacity(receipts.len() * 256);
        for receipt in &receipts {
            // Strings and numbers into memory cannot fail; a cut line would be noticed by its reader.
            if serde_json::to_writer(&mut piece, receipt).is_ok() {
                piece.push(b'\n');
            }
        }
        Some((Ok::<_, Infallible>(Bytes::from(piece)), (tally, from + receipts.len())))
    });
    HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .streaming(pieces)
}

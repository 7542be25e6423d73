//! `GET /v1/reconciliation`.

use super::{MOST_HOURS, ReconcileError, page, report::Reconciliation};
use crate::{api::Producer, openapi, refusal::Refusal};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, Accept, ContentType, Header},
    web::{Data, Query},
};
use contract::FieldError;
use std::{collections::HashMap, ops::RangeInclusive};

/// Hours that are shown where none are asked for.
const HOURS: u32 = 24;
/// Hours that may be asked for.
const ALLOWED: RangeInclusive<u32> = 1..=MOST_HOURS;
/// The page needs nothing but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// What became of everything.
///
/// Accepted = stored + deduplicated + dead-lettered + expired + erased + in flight, for each source, partition and
/// hour; every `difference` is 0. A browser is shown a page of the same figures. They are of all tenants together, so
/// that an API key with a tenant of its own is refused.
#[utoipa::path(
    get,
    path = "/v1/reconciliation",
    operation_id = "reconciliation",
    tag = "reconciliation",
    security((), ("apiKey" = [])),
    params(
        ("hours" = Option<u32>, Query, description = "How many hours are shown one by one, the present one included; 24 when left out", minimum = 1, maximum = 168),
    ),
    responses(
        (status = 200, description = "The account; a page where `Accept` prefers `text/html`", content(
            (Reconciliation = "application/json"),
            (String = "text/html"),
        )),
        (status = 400, description = "`hours` is no such number", body = openapi::ErrorResponse),
        (status = 401, description = "API keys are required, and this request shows no valid one", body = openapi::ErrorResponse),
        (status = 403, description = "The API key has a tenant of its own", body = openapi::ErrorResponse),
        (status = 404, description = "The pipeline has no PostgreSQL", body = openapi::ErrorResponse),
        (status = 503, description = "It cannot be told at the moment", body = openapi::ErrorResponse,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry"))),
    ),
)]
pub async fn reconciliation(request: HttpRequest, producer: Data<Producer>) -> Result<HttpResponse, Refusal> {
    let key = producer.key(&request).await?;
    let tenant = key.as_ref().and_then(|key| key.tenant.as_ref());
    if tenant.is_some_and(|tenant| *tenant != producer.tenant) {
        return Err(Refusal::Forbidden);
    }
    let hours = hours(request.query_string())?;
    let reconciler = producer.reconciler.as_ref().ok_or(Refusal::NoAccounts)?;
    let report = reconciler.report(hours).await?;
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer.insert_header((header::VARY, "accept"));
    Ok(match wants_page(&request) {
        true => answer
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .content_type(ContentType::html())
            .body(page::render(&report)),
        false => answer.json(&report),
    })
}

fn hours(query: &str) -> Result<u32, FieldError> {
    let wrong = || FieldError {
        field: "hours".to_owned(),
        problem: format!("must be a whole number from {} to {}", ALLOWED.start(), ALLOWED.end()),
    };
    let query: Query<HashMap<String, String>> = Query::from_query(query).map_err(|_| wrong())?;
    let Some(asked) = query.get("hours") else {
        return Ok(HOURS);
    };
    let hours = asked.parse().ok().filter(|hours| ALLOWED.contains(hours));
    hours.ok_or_else(wrong)
}

/// Whether HTML is named, and before JSON. Programs that take everything get JSON.
fn wants_page(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else {
        return false;
    };
    let known = accept.ranked().into_iter().find_map(|kind| match kind.essence_str() {
        "text/html" => Some(true),
        "application/json" => Some(false),
        _ => None,
    });
    known.unwrap_or(false)
}

impl From<ReconcileError> for Refusal {
    fn from(error: ReconcileError) -> Refusal {
        match error {
            ReconcileError::Ledger(error) => error.into(),
            ReconcileError::KafkaAway => Refusal::KafkaAway,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn hours_are_bounded() {
        assert_eq!(hours(""), Ok(24));
        assert_eq!(hours("a=b&hours=168"), Ok(168));
        for wrong in ["0", "169", "-1", "", "1.5", "99999999999", "%ff"] {
            let error = hours(&format!("hours={wrong}")).unwrap_err();
            assert_eq!(error.to_string(), "hours: must be a whole number from 1 to 168");
        }
    }

    #[test]
    fn browsers_get_a_page_and_programs_json() {
        let wants = |accept: &str| {
            let request = TestRequest::get().insert_header((header::ACCEPT, accept));
            wants_page(&request.to_http_request())
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("text/html"));
        assert!(wants("application/json;q=0.5, text/html"));
        assert!(!wants("*/*"));
        assert!(!wants("application/json"));
        assert!(!wants("text/html;q=0.5, application/json"));
        assert!(!wants("nonsense"));
        assert!(!wants_page(&TestRequest::get().to_http_request()));
    }
}

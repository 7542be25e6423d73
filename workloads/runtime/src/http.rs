//! The routes that every workload serves, and the measuring of requests.

use crate::{
    health::Health,
    metrics::{self, MetricError},
};
use actix_web::{
    App, Error, HttpResponse, HttpServer, Route,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    guard,
    http::{
        ConnectionType, Method,
        header::{self, ContentType},
    },
    middleware::Next,
    web::{self, ServiceConfig},
};
use contract::metric;
use prometheus::{HistogramVec, IntCounterVec};
use std::{io, net::Ipv4Addr, time::Instant};
use tokio_util::sync::CancellationToken;

/// `/healthz` (the process answers), `/ready` (200 or 503, with the parts that are not ready and why) and
/// `/metrics` (Prometheus' text format).
pub fn operations(health: Health) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        let healthz = reading().to(|| async { HttpResponse::Ok().body("ok\n") });
        let ready = reading().to(move || {
            let readiness = health.readiness();
            async move {
                let mut answer = match readiness.ready {
                    true => HttpResponse::Ok(),
                    false => HttpResponse::ServiceUnavailable(),
                };
                answer.json(readiness)
            }
        });
        for (path, route) in [
            ("/healthz", healthz),
            ("/ready", ready),
            ("/metrics", reading().to(exposition)),
        ] {
            let resource = web::resource(path).route(route);
            service.service(resource.default_service(web::to(|| async {
                HttpResponse::MethodNotAllowed()
                    .insert_header((header::ALLOW, READING))
                    .finish()
            })));
        }
    }
}

/// `Allow` of what is only read.
pub const READING: &str = "GET, HEAD";

/// A route for the methods that only read. The server leaves out the body of an answer to HEAD.
pub fn reading() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Serves [`operations`] and nothing else on `port` until `stop` is cancelled: for workloads whose work is not HTTP.
pub async fn serve_operations(port: u16, health: Health, stop: CancellationToken) -> io::Result<()> {
    HttpServer::new(move || App::new().configure(operations(health.clone())))
        .workers(1)
        .disable_signals()
        .shutdown_signal(stop.cancelled_owned())
        .shutdown_timeout(1)
        .bind((Ipv4Addr::UNSPECIFIED, port))?
        .run()
        .await
}

async fn exposition() -> HttpResponse {
    match metrics::text() {
        Ok(text) => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(text),
        Err(error) => HttpResponse::InternalServerError()
            .content_type(ContentType::plaintext())
            .body(format!("metrics cannot be encoded: {error}\n")),
    }
}

/// Counts and times requests by route, never by path, so that labels stay a bounded set.
#[derive(Clone)]
pub struct RequestMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl RequestMetrics {
    /// Registers both metrics.
    pub fn register() -> Result<RequestMetrics, MetricError> {
        Ok(RequestMetrics {
            requests: metrics::counter_vec(
                metric::HTTP_REQUESTS,
                "HTTP requests by route, method and status.",
                &["route", "method", "status"],
            )?,
            duration: metrics::histogram_vec(
                metric::HTTP_DURATION,
                "Duration of HTTP requests by route, seconds.",
                &["route"],
                metrics::SECONDS,
            )?,
        })
    }

    /// The middleware's body: `App::wrap(from_fn(move |request, next| metrics.clone().measure(request, next)))`.
    pub async fn measure<B: MessageBody>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        let started = Instant::now();
        let method = method_label(request.method());
        let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
        let answer = next.call(request).await;
        let status = match &answer {
            Ok(answer) => answer.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        self.requests
            .with_label_values(&[route.as_str(), method, status.as_str()])
            .inc();
        self.duration
            .with_label_values(&[route.as_str()])
            .observe(started.elapsed().as_secs_f64());
        answer
    }
}

/// The middleware's body that closes a connection after its answer while the workload drains, so that clients with
/// kept connections move on to another pod before this one stops listening.
pub async fn close_while_draining<B: MessageBody>(
    health: Health,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut answer = next.call(request).await?;
    if health.draining() {
        answer
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

/// Clients may send any word as a method; a label must not follow them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{http::StatusCode, middleware::from_fn, test};

    #[actix_web::test]
    async fn ready_follows_the_parts_and_names_them() {
        let health = Health::new(&["kafka"]);
        let app = test::init_service(App::new().configure(operations(health.clone()))).await;
        let answer = test::call_service(&app, test::TestRequest::get().uri("/ready").to_request()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = test::read_body_json(answer).await;
        assert_eq!(
            body["notReady"],
            serde_json::json!([{"part": "kafka", "reason": "not checked yet"}])
        );

        health.set("kafka", Ok(()));
        let answer = test::call_service(&app, test::TestRequest::get().uri("/ready").to_request()).await;
        assert_eq!(answer.status(), StatusCode::OK);

        health.drain();
        let answer = test::call_service(&app, test::TestRequest::get().uri("/ready").to_request()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let answer = test::call_service(&app, test::TestRequest::get().uri("/healthz").to_request()).await;
        assert_eq!(answer.status(), StatusCode::OK, "draining is no reason to restart");
    }

    #[actix_web::test]
    async fn what_is_only_read_takes_no_other_methods() {
        let app = test::init_service(App::new().configure(operations(Health::new(&[])))).await;
        for path in ["/healthz", "/ready", "/metrics"] {
            let answer = test::call_service(
                &app,
                test::TestRequest::with_uri(path).method(Method::HEAD).to_request(),
            )
            .await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let answer = test::call_service(&app, test::TestRequest::post().uri(path).to_request()).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.headers().get(header::ALLOW).unwrap(), "GET, HEAD");
        }
    }

    #[actix_web::test]
    async fn requests_are_counted_by_route_not_by_path() {
        let measured = RequestMetrics::register().unwrap();
        let app = test::init_service(
            App::new()
                .wrap(from_fn(move |request, next| measured.clone().measure(request, next)))
                .route("/runtime-test/{id}", web::get().to(HttpResponse::NoContent))
                .configure(operations(Health::new(&[]))),
        )
        .await;
        for path in ["/runtime-test/1", "/runtime-test/2", "/nowhere"] {
            test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        }
        let answer = test::call_service(&app, test::TestRequest::get().uri("/metrics").to_request()).await;
        let text = String::from_utf8(test::read_body(answer).await.to_vec()).unwrap();
        for line in [
            r#"syncpipeline_http_requests_total{method="GET",route="/runtime-test/{id}",status="204"} 2"#,
            r#"syncpipeline_http_requests_total{method="GET",route="none",status="404"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}

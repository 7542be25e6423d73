//! Health and metrics of the operator.

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::metrics::Metrics;

/// Serves `/healthz`, `/ready` and `/metrics`.
pub fn serve(port: u16, metrics: Metrics) -> std::io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(metrics.clone()))
            .route("/healthz", web::get().to(HttpResponse::Ok))
            .route("/ready", web::get().to(HttpResponse::Ok))
            .route("/metrics", web::get().to(render))
    })
    .workers(1)
    .disable_signals()
    .bind(("0.0.0.0", port))?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}

async fn render(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.render() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

//! The client of the API server, which counts what it asks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use prometheus::IntCounterVec;
use tower::{Layer, Service};

/// Connects as the environment says. Every request counts in `requests`, by method and outcome.
pub async fn connect(requests: IntCounterVec) -> Result<Client, kube::Error> {
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    let counting = Counting { requests };
    Ok(ClientBuilder::try_from(config)?.with_layer(&counting).build())
}

struct Counting {
    requests: IntCounterVec,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            requests: self.requests.clone(),
        }
    }
}

struct Counted<S> {
    inner: S,
    requests: IntCounterVec,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().to_string();
        let requests = self.requests.clone();
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answer = answering.await;
            let success = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
            let outcome = if success { "success" } else { "failure" };
            requests.with_label_values(&[method.as_str(), outcome]).inc();
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Opts;

    /// An API server that refuses every deletion.
    struct Refusing;

    impl Service<Request<Body>> for Refusing {
        type Response = Response<()>;
        type Error = kube::Error;
        type Future = std::future::Ready<Result<Response<()>, kube::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let status = if request.method() == http::Method::DELETE {
                403
            } else {
                200
            };
            std::future::ready(Ok(Response::builder().status(status).body(()).unwrap()))
        }
    }

    #[tokio::test]
    async fn requests_count_by_method_and_outcome() {
        let requests = IntCounterVec::new(Opts::new("requests", "help"), &["method", "outcome"]).unwrap();
        let counting = Counting {
            requests: requests.clone(),
        };
        let mut service = counting.layer(Refusing);
        for method in ["GET", "GET", "DELETE"] {
            let request = Request::builder().method(method).body(Body::empty()).unwrap();
            service.call(request).await.unwrap();
        }
        let count = |labels: [&str; 2]| requests.with_label_values(&labels).get();
        assert_eq!(count(["GET", "success"]), 2);
        assert_eq!(count(["DELETE", "failure"]), 1);
        assert_eq!(count(["DELETE", "success"]), 0);
    }
}

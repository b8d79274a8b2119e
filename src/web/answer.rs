//! Paths and their answers. Every answer forbids whatever a page could be made to load, run or leak; nothing is answered but GET and HEAD.

use super::door::Peer;
use super::{Shared, state};
use crate::error::Error;
use crate::metrics::exposition;
use crate::views::{ViewContext, metrics};
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware::map_response};
use std::collections::HashMap;
use std::sync::Arc;

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = include_str!("page/icon.svg");

/// Headers of every answer.
const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// All paths. `/healthz` says so little that nobody is asked who he is.
pub fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/", get(|| fixed("text/html; charset=utf-8", PAGE)))
        .route("/style.css", get(|| fixed("text/css; charset=utf-8", STYLE)))
        .route("/script.js", get(|| fixed("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(|| fixed("image/svg+xml", ICON)))
        .route("/api/state", get(overview))
        .route("/api/pipe", get(pipe))
        .route("/metrics", get(scrape))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
        .layer(middleware::from_fn_with_state(shared.clone(), admit));
    Router::new().route("/healthz", get(health)).merge(guarded).layer(map_response(with_headers)).with_state(shared)
}

async fn fixed(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets those in whom the guard lets in; what follows sees the views with their rights.
async fn admit(State(shared): State<Arc<Shared>>, Extension(Peer(from)): Extension<Peer>, mut request: Request, next: Next) -> Response {
    match shared.guard.admit(&shared.engine, request.headers(), from).await {
        Ok(_) if shared.is_stopping() => (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response(),
        Ok(role) => {
            request.extensions_mut().insert(shared.views(&role));
            next.run(request).await
        }
        Err(refused) => {
            let mut response = (refused.status, refused.text + "\n").into_response();
            if refused.status == StatusCode::UNAUTHORIZED {
                let asks = HeaderValue::from_static("Basic realm=\"standpipe\", charset=\"UTF-8\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
            }
            response
        }
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_stopping() { (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response() } else { "ready\n".into_response() }
}

async fn scrape(Extension(views): Extension<ViewContext>) -> Response {
    match metrics::read(&views) {
        Ok(samples) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::text(&samples)).into_response(),
        Err(e) => failed(&e),
    }
}

async fn overview(State(shared): State<Arc<Shared>>, Extension(views): Extension<ViewContext>) -> Response {
    json(state::overview(&views, &shared.history))
}

async fn pipe(State(shared): State<Arc<Shared>>, Extension(views): Extension<ViewContext>, Query(query): Query<HashMap<String, String>>) -> Response {
    match query.get("name") {
        Some(name) => json(state::pipe(views, name, &shared.history)),
        None => (StatusCode::BAD_REQUEST, "which pipe? /api/pipe?name=...\n").into_response(),
    }
}

fn json(outcome: Result<Option<serde_json::Value>, Error>) -> Response {
    match outcome {
        Ok(Some(value)) => ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "there is no such pipe\n").into_response(),
        Err(e) => failed(&e),
    }
}

/// Errors of ours have no secret in them, so their message can be said.
fn failed(e: &Error) -> Response {
    tracing::error!(error = %e, "the dashboard could not be answered");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", e.message())).into_response()
}

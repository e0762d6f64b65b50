//! One request and its answer, with the fault that the plan has for it.
//!
//! Advice for maintainers: a fault acts at one of three points, in this order: while the body is read, in place of
//! the endpoint's answer, or on the endpoint's answer. An exchange that ends in [`NoAnswer`] closes its connection;
//! hyper drops the whole future where the client hangs up first, so nothing after an `await` may be needed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::sandbox::answers::{self, Answer};
use crate::sandbox::endpoints::{self, Collected, MAX_BODY_BYTES};
use crate::sandbox::fault::{AnswerFault, Fault, Then};
use crate::sandbox::log::Entry;
use crate::sandbox::reply::Reply;
use crate::sandbox::server::State;
use crate::sandbox::wire::{Pace, WireControl};

/// The exchange ends without an answer, and its connection with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the fault plan ends this connection")]
    Planned,
    #[error("the request's body did not arrive")]
    Body(#[source] hyper::Error),
}

/// Answers one request.
pub(super) async fn exchange(
    state: Arc<State>,
    wire: Arc<WireControl>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, NoAnswer> {
    let (head, incoming) = request.into_parts();
    let (endpoint, _) = endpoints::route(head.uri.path());
    let number = state.number(endpoint);
    let (early, verdict) = match state.gate_of(endpoint) {
        Some(gate) => {
            let arrival = gate.arrive(Instant::now());
            (arrival.early, arrival.verdict.map(Some))
        }
        None => (false, Ok(None)),
    };
    let entry = Arc::new(state.log.begin(&head, endpoint, number, early));
    let mut body = BodyReader::new(incoming, entry.clone());

    let (_permit, fault) = match verdict {
        Ok(permit) => (permit, state.fault(endpoint, number)),
        Err(refusal) => {
            body.read_to(None).await?;
            return Ok(send(&state, &entry, refusal, None));
        }
    };
    if let Some(fault) = fault {
        entry.fault(fault.name());
    }

    match fault {
        Some(Fault::Reset { at_byte }) => {
            body.read_to(Some(*at_byte)).await?;
            wire.reset();
            return Err(NoAnswer::Planned);
        }
        Some(Fault::Stall { at_byte, seconds }) => {
            body.read_to(Some(*at_byte)).await?;
            tokio::time::sleep(*seconds).await;
        }
        Some(Fault::SlowRead { bytes_per_second }) => wire.read_at(Some(Pace::new(*bytes_per_second))),
        Some(Fault::ExpireTokens) => state.tokens().expire_all(),
        Some(Fault::Answer(answer)) if answer.at_byte.is_some() => {
            body.read_to(answer.at_byte).await?;
            let mut reply = send(&state, &entry, planned(answer), None);
            if answer.then == Some(Then::Close) {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            } else {
                tokio::spawn(async move {
                    // A client that stops sending after it has its answer is within its rights.
                    if let Err(error) = body.read_to(None).await {
                        tracing::debug!(%error, "the rest of an early answered body did not arrive");
                    }
                });
            }
            return Ok(reply);
        }
        _ => {}
    }
    body.read_to(None).await?;
    wire.read_at(None);

    let before = state.store.latest();
    let answer = match fault {
        Some(Fault::Answer(answer)) => planned(answer),
        Some(Fault::Html { status }) => html(*status),
        Some(Fault::Redirect { status, location }) => redirect(&state, *status, location.as_deref()),
        _ => endpoints::answer(&state, &head, body.collected(), &entry).await,
    };
    match fault {
        Some(Fault::LoseAnswer) => Err(NoAnswer::Planned),
        Some(Fault::SlowAnswer { seconds }) => {
            tokio::time::sleep(*seconds).await;
            Ok(send(&state, &entry, answer, None))
        }
        Some(Fault::CutAnswer { bytes, break_off }) => {
            let len = bytes.unwrap_or(answer.body.len() / 2).min(answer.body.len());
            Ok(send(&state, &entry, answer, Some((len, *break_off))))
        }
        Some(fault) => Ok(send(&state, &entry, falsified(fault, answer, before.as_deref()), None)),
        None => Ok(send(&state, &entry, answer, None)),
    }
}

/// Notes the answer where it matters and puts it into HTTP; `cut` is the bytes of its body that go out, and
/// whether the Content-Length is that of the whole.
fn send(state: &State, entry: &Entry, answer: Answer, cut: Option<(usize, bool)>) -> Response<Reply> {
    entry.answered(&answer);
    state.gate.answered(&answer, Instant::now());
    let whole = answer.body.len();
    let reply = match cut {
        None => Reply::whole(answer.body),
        Some((len, false)) => Reply::whole(answer.body.slice(..len)),
        Some((len, true)) => Reply::broken_off(answer.body.slice(..len), (whole - len) as u64),
    };
    let mut response = Response::new(reply);
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        response.headers_mut().append(name, value);
    }
    response
}

fn planned(fault: &AnswerFault) -> Answer {
    let status = fault.status();
    let mut answer = match (&fault.code, &fault.body) {
        (Some(code), _) => {
            let known = answers::known(code).map(|(_, message)| message);
            let message = fault.message.as_deref().or(known).unwrap_or_default();
            Answer::error(status, code, message, &json!({}))
        }
        (None, Some(body)) => {
            let told = fault.content_type.as_deref().and_then(|text| HeaderValue::try_from(text).ok());
            let content_type = told.unwrap_or(HeaderValue::from_static("application/json;charset=UTF-8"));
            Answer::text(status, content_type, Bytes::from(body.clone()))
        }
        (None, None) => {
            let mut answer = Answer::text(status, HeaderValue::from_static("text/plain"), Bytes::new());
            answer.headers.clear();
            answer
        }
    };
    if let Some(seconds) = fault.retry_after {
        answer = answer.with_retry_after(seconds);
    }
    if let Some(seconds) = fault.retry_after_date {
        answer = answer.with_retry_after_date(seconds);
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers.push((name, value));
        }
    }
    answer
}

fn html(status: Option<u16>) -> Answer {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let page =
        "<!DOCTYPE html><html><head><title>Please wait</title></head><body>Please wait</body></html>\n";
    Answer::text(
        status,
        HeaderValue::from_static("text/html;charset=UTF-8"),
        Bytes::from_static(page.as_bytes()),
    )
}

fn redirect(state: &State, status: Option<u16>, location: Option<&str>) -> Answer {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let own = format!("{}/redirected", state.base_url);
    let location = HeaderValue::try_from(location.unwrap_or(&own))
        .expect("invariant: the plan's location was parsed as a URL, and the own one is ASCII");
    Answer::redirect(status.unwrap_or(StatusCode::TEMPORARY_REDIRECT), location)
}

/// Makes an endpoint's success a wrong one; a refusal stays as it is. `before` is the id given before this one.
fn falsified(fault: &Fault, mut answer: Answer, before: Option<&str>) -> Answer {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    match fault {
        Fault::RepeatFileId if answer.file_id.is_some() && before.is_some() => {
            body["details"]["file_id"] = json!(before);
        }
        Fault::NoFileId if answer.file_id.is_some() => body["details"] = json!({}),
        Fault::NumericFileId => {
            let Some(id) = answer.file_id.as_deref().and_then(|id| id.parse::<u64>().ok()) else {
                return answer;
            };
            body["details"]["file_id"] = json!(id);
        }
        Fault::NoExpiresIn if body.get("access_token").is_some() => {
            if let Some(body) = body.as_object_mut() {
                body.remove("expires_in");
            }
        }
        Fault::ExpiresInMs if body.get("access_token").is_some() => {
            let seconds = body["expires_in"].as_u64();
            body["expires_in_sec"] = json!(seconds);
            body["expires_in"] = json!(seconds.map(|seconds| seconds * 1000));
        }
        _ => return answer,
    }
    answer.file_id = body["details"]["file_id"].as_str().map(Box::from);
    answer.body = Bytes::from(body.to_string());
    answer
}

/// Reads a body piece by piece, keeping no more of it than the endpoints may want.
struct BodyReader {
    incoming: Incoming,
    entry: Arc<Entry>,
    kept: BytesMut,
    read: u64,
    ended: bool,
}

impl BodyReader {
    fn new(incoming: Incoming, entry: Arc<Entry>) -> BodyReader {
        BodyReader { incoming, entry, kept: BytesMut::new(), read: 0, ended: false }
    }

    /// Reads until that many bytes of the body have come, or to its end. What arrives with the last of them is read too.
    async fn read_to(&mut self, bytes: Option<u64>) -> Result<(), NoAnswer> {
        while !self.ended && bytes.is_none_or(|bytes| self.read < bytes) {
            let Some(frame) = self.incoming.frame().await else {
                self.ended = true;
                break;
            };
            let Ok(data) = frame.map_err(NoAnswer::Body)?.into_data() else { continue };
            self.read += data.len() as u64;
            self.entry.read(data.len() as u64);
            let room = MAX_BODY_BYTES - self.kept.len();
            self.kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok(())
    }

    fn collected(self) -> Collected {
        Collected { too_long: self.read > MAX_BODY_BYTES as u64, bytes: self.kept.freeze() }
    }
}

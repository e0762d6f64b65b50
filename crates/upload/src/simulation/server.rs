//! The simulated carrier with a server behind it: keeps what it accepts, misbehaves by the schedule, and writes down
//! all it sees. What it writes is the evidence of the laws.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::NOON;
use super::schedule::{Fault, Schedule, TokenFault};
use crate::reporter::BoxFuture;
use crate::transport::{Answer, Exchange, Failure, FailureKind, Observer, Request, Timeouts, Transport};

pub(super) const GIVEN: &str = "canary-tok-given";

/// One upload request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) archive: String,
    pub(super) token: String,
    pub(super) fault: Option<Fault>,
    /// The server has the body.
    pub(super) kept: bool,
    /// It was answered with a success, and the client read that.
    pub(super) told: bool,
    /// When the client had the outcome.
    pub(super) ended: Option<Instant>,
}

pub(super) struct Server {
    pub(super) schedule: Schedule,
    pub(super) begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) seen: Vec<Seen>,
    /// Of those that arrived.
    pub(super) token_times: Vec<Instant>,
    token_requests: u64,
    /// Every body by its `file_id`.
    pub(super) files: BTreeMap<String, (String, Bytes)>,
    told_ids: BTreeSet<String>,
    /// The waits asked for: from reading the headers on.
    pub(super) windows: Vec<(Instant, Instant)>,
    pub(super) violations: Vec<String>,
    active: usize,
    /// Valid until.
    tokens: BTreeMap<String, Instant>,
    next_id: u64,
}

impl State {
    /// The last `file_id` made of that archive.
    fn latest_of(&self, archive: &str) -> Option<String> {
        self.files.iter().rev().find(|(_, (name, _))| name == archive).map(|(id, _)| id.clone())
    }
}

impl Server {
    pub(super) fn new(schedule: Schedule) -> Server {
        let mut state = State::default();
        if schedule.given_token && !schedule.given_is_expired {
            state.tokens.insert(GIVEN.to_owned(), Instant::now() + Duration::from_hours(1));
        }
        Server { schedule, begun: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    pub(super) fn uploads(&self) -> usize {
        self.with(|state| state.seen.len())
    }

    pub(super) fn token_calls(&self) -> usize {
        self.with(|state| state.token_times.len())
    }

    pub(super) fn kinds_met(&self) -> BTreeSet<String> {
        self.with(|state| state.seen.iter().filter_map(|seen| seen.fault).map(Fault::kind).collect())
    }

    /// All that happened, a line each.
    pub(super) fn story(&self) -> String {
        self.with(|state| {
            let mut story = String::new();
            for (number, seen) in state.seen.iter().enumerate() {
                writeln!(
                    story,
                    "{number:4} {:>9.3} {} {} {:?}{}{}",
                    (seen.at - self.begun).as_secs_f64(),
                    seen.archive,
                    seen.token,
                    seen.fault,
                    if seen.kept { " kept" } else { "" },
                    if seen.told { " told" } else { "" },
                )
                .unwrap();
            }
            for at in &state.token_times {
                writeln!(story, "token at {:.3}", (*at - self.begun).as_secs_f64()).unwrap();
            }
            story
        })
    }

    async fn upload(&self, request: Request, observer: Arc<dyn Observer>) -> Exchange {
        let number = self.arrive(&request);
        let _active = Active(self);
        let mut rng = StdRng::seed_from_u64(self.schedule.seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let len = request.payload.len_bytes();
        let fault = self.with(|state| state.seen[number].fault);
        sleep(Duration::from_millis(rng.random_range(1..40))).await;
        let refused = |kind| Exchange { outcome: Err(Failure { kind, source: None }), bytes_sent: 0 };
        match fault {
            Some(Fault::Refused) => return refused(FailureKind::Connect),
            Some(Fault::Certificate) => return refused(FailureKind::Certificate),
            Some(Fault::ConnectTimeout) => {
                sleep(Timeouts::default().connect).await;
                return refused(FailureKind::ConnectTimeout);
            }
            _ => {}
        }
        let part = rng.random_range(1..len);
        observer.sent(part);
        sleep(Duration::from_millis(rng.random_range(1..800))).await;
        let partly = |kind| Exchange { outcome: Err(Failure { kind, source: None }), bytes_sent: part };
        match fault {
            Some(Fault::ResetMidBody) => return partly(FailureKind::Lost),
            Some(Fault::Stalled) => {
                sleep(Timeouts::default().stall).await;
                return partly(FailureKind::Stalled);
            }
            Some(Fault::EarlySuccess) => {
                let (status, headers, body) = success("424242");
                observer.head(status, &headers);
                let answer = Answer { status, headers, body: body.into() };
                return Exchange { outcome: Ok(answer), bytes_sent: part };
            }
            Some(Fault::Slow) => sleep(Duration::from_secs(rng.random_range(1..200))).await,
            _ => {}
        }
        observer.sent(len - part);
        let whole = |outcome| Exchange { outcome, bytes_sent: len };
        let kept = Self::keeps(fault);
        if kept {
            self.keep(number, &request);
        }
        sleep(Duration::from_millis(rng.random_range(1..300))).await;
        let kind = match fault {
            Some(Fault::LostAnswer { .. }) => Some(FailureKind::Lost),
            Some(Fault::NotHttp) => Some(FailureKind::NotHttp),
            Some(Fault::Silence { .. }) => {
                sleep(Timeouts::default().silence).await;
                Some(FailureKind::Silent)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            return whole(Err(Failure { kind, source: None }));
        }
        let (status, headers, body) = self.answer(number, fault);
        observer.head(status, &headers);
        self.open_window(status, &headers, &body);
        sleep(Duration::from_millis(rng.random_range(0..200))).await;
        if kept && fault.is_none_or(|fault| fault == Fault::Slow) {
            let archive = self.with(|state| {
                state.seen[number].told = true;
                state.seen[number].archive.clone()
            });
            self.with(|state| state.told_ids.extend(state.latest_of(&archive)));
        }
        whole(Ok(Answer { status, headers, body: body.into() }))
    }

    /// A request starts: the laws about starts are checked here.
    fn arrive(&self, request: &Request) -> usize {
        let now = Instant::now();
        let head = String::from_utf8(request.payload.segments[0].to_vec()).unwrap();
        let archive = head.split("filename=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
        let token = header("authorization").strip_prefix("Zoho-oauthtoken ").unwrap().to_owned();
        assert_eq!((header("feature").as_str(), header("x-crm-org").as_str()), ("bulk-write", "808232144"));
        self.with(|state| {
            let number = state.seen.len();
            let mut fault = self.schedule.faults.get(&(number as u64)).copied();
            if let Some((from, until)) = self.schedule.outage
                && (from..until).contains(&(now - self.begun))
            {
                fault = Some(
                    [Fault::Refused, Fault::Unavailable { retry_after: None }, Fault::ResetMidBody]
                        [number % 3],
                );
            }
            if fault == Some(Fault::ExpireAllTokens) {
                state.tokens.clear();
            }
            let valid = state.tokens.get(&token).is_some_and(|until| now < *until);
            if !valid && !matches!(fault, Some(Fault::Refused | Fault::ResetMidBody)) {
                fault = Some(Fault::InvalidToken);
            }
            if let Some((from, until)) = state.windows.iter().find(|(_, until)| now < *until) {
                state.violations.push(format!(
                    "request {number} starts at {:?} inside the wait from {:?} to {:?}",
                    now - self.begun,
                    *from - self.begun,
                    *until - self.begun
                ));
            }
            if self.schedule.starts_per_second > 0.0
                && let Some(last) = state.seen.last()
            {
                let spacing = Duration::from_secs_f64(1.0 / self.schedule.starts_per_second);
                // The clock has a resolution of a millisecond.
                if now - last.at + Duration::from_millis(1) < spacing {
                    state
                        .violations
                        .push(format!("request {number} starts {:?} after the last", now - last.at));
                }
            }
            state.active += 1;
            if state.active > self.schedule.concurrency {
                state.violations.push(format!("{} requests at once", state.active));
            }
            state.seen.push(Seen { at: now, archive, token, fault, kept: false, told: false, ended: None });
            number
        })
    }

    fn keeps(fault: Option<Fault>) -> bool {
        match fault {
            None | Some(Fault::CutJson | Fault::Slow | Fault::SameFileIdAgain) => true,
            Some(
                Fault::Html { kept }
                | Fault::NoFileId { kept }
                | Fault::EmptyOk { kept }
                | Fault::Gateway { kept, .. }
                | Fault::LostAnswer { kept }
                | Fault::Silence { kept },
            ) => kept,
            Some(_) => false,
        }
    }

    fn keep(&self, number: usize, request: &Request) {
        self.with(|state| {
            state.next_id += 1;
            let id = format!("{}", 111_111_000_000_000_000 + state.next_id);
            let seen = &mut state.seen[number];
            seen.kept = true;
            state.files.insert(id, (seen.archive.clone(), request.payload.segments[1].clone()));
        });
    }

    fn answer(&self, number: usize, fault: Option<Fault>) -> (u16, HeaderMap, String) {
        let mut headers = HeaderMap::new();
        let error = |code: &str, message: &str, details: &str| {
            format!(r#"{{"code":"{code}","details":{{{details}}},"message":"{message}","status":"error"}}"#)
        };
        let token = self.with(|state| state.seen[number].token.clone());
        let mine = || self.with(|state| state.latest_of(&state.seen[number].archive));
        let (status, body) = match fault {
            None | Some(Fault::Slow) => {
                let id = mine().unwrap();
                return success(&id);
            }
            Some(Fault::SameFileIdAgain) => {
                // One that another archive was told; else its own.
                let first = self.with(|state| state.told_ids.iter().next().cloned());
                return success(&first.or_else(mine).unwrap());
            }
            Some(Fault::Html { .. }) => (200, format!("<html>busy, {token}</html>")),
            Some(Fault::CutJson) => {
                let (status, headers, body) = success(&mine().unwrap());
                return (status, headers, body[..body.len() / 2].to_owned());
            }
            Some(Fault::NoFileId { .. }) => (200, r#"{"status":"success","details":{}}"#.to_owned()),
            Some(Fault::EmptyOk { .. }) => (200, String::new()),
            Some(Fault::InternalErrorUnder200) => (200, error("INTERNAL_ERROR", "Internal Server Error", "")),
            Some(Fault::InternalError) => (500, error("INTERNAL_ERROR", &token, "")),
            Some(Fault::Unavailable { retry_after }) => {
                if let Some(seconds) = retry_after {
                    headers.insert("retry-after", HeaderValue::from(seconds));
                }
                (503, String::new())
            }
            Some(Fault::Gateway { status, .. }) => (status, "<html>bad gateway</html>".to_owned()),
            Some(Fault::RequestTimeout) => (408, String::new()),
            Some(Fault::TooEarly) => (425, String::new()),
            Some(Fault::TooMany { header, date, details }) => {
                if let Some(seconds) = header {
                    let now = SystemTime::UNIX_EPOCH + NOON + self.begun.elapsed();
                    let value = if date {
                        // A date has whole seconds: the next one after the wait.
                        let until = now + Duration::from_secs(seconds + 1);
                        headers.insert("date", HeaderValue::from_str(&httpdate::fmt_http_date(now)).unwrap());
                        httpdate::fmt_http_date(until)
                    } else {
                        seconds.to_string()
                    };
                    headers.insert("retry-after", HeaderValue::from_str(&value).unwrap());
                }
                let details = details.map_or(String::new(), |seconds| format!(r#""retry_after":{seconds}"#));
                (429, error("TOO_MANY_REQUESTS", "too many requests", &details))
            }
            Some(Fault::InvalidToken | Fault::ExpireAllTokens) => {
                (401, error("INVALID_TOKEN", &format!("invalid oauth token {token}"), ""))
            }
            Some(Fault::BareUnauthorized) => {
                (401, r#"{"ERROR_CODE":401,"ERROR_MESSAGE":"Unauthorized"}"#.to_owned())
            }
            Some(Fault::TooLarge) => (413, error("FILE_TOO_LARGE", &token, "")),
            Some(Fault::TooLargeAsInvalidData) => {
                (400, error("INVALID_DATA", "Import file size should be less than 25 mb.", ""))
            }
            Some(Fault::NotAZip) => (200, error("INVALID_FILE_FORMAT", "invalid file format", "")),
            Some(Fault::UnknownCode) => (400, error("SOMETHING_NEW", &token, "")),
            Some(Fault::ScopeMismatch) => (401, error("OAUTH_SCOPE_MISMATCH", &token, "")),
            Some(Fault::Redirect) => {
                headers.insert("location", HeaderValue::from_static("https://elsewhere.example/"));
                (307, String::new())
            }
            Some(Fault::CreditsGone) => (429, error("LIMIT_EXCEEDED", "limit", "")),
            Some(Fault::VeryLongWait) => {
                headers.insert("retry-after", HeaderValue::from_static("86400"));
                (429, String::new())
            }
            Some(fault) => unreachable!("{fault:?} is no answer"),
        };
        (status, headers, body)
    }

    fn open_window(&self, status: u16, headers: &HeaderMap, body: &str) {
        if status != 429 && status != 503 {
            return;
        }
        let now = Instant::now();
        let header = headers.get("retry-after").and_then(|value| value.to_str().unwrap().parse::<u64>().ok());
        let details = || body.split("\"retry_after\":").nth(1)?.split('}').next()?.parse().ok();
        let dated = || {
            let until = httpdate::parse_http_date(headers.get("retry-after")?.to_str().ok()?).ok()?;
            let now = SystemTime::UNIX_EPOCH + NOON + self.begun.elapsed();
            Some(until.duration_since(now).unwrap_or_default().as_secs())
        };
        if let Some(seconds) = header.or_else(dated).or_else(details) {
            self.with(|state| state.windows.push((now, now + Duration::from_secs(seconds))));
        }
    }

    async fn token(&self) -> Exchange {
        let number = self.with(|state| {
            state.token_requests += 1;
            state.token_times.push(Instant::now());
            state.token_requests - 1
        });
        sleep(Duration::from_millis(150)).await;
        let fault = self.schedule.token_faults.get(&number).copied();
        let ok = |status, body: String| Exchange {
            outcome: Ok(Answer { status, headers: HeaderMap::new(), body: body.into() }),
            bytes_sent: 100,
        };
        let failed = |kind, bytes_sent| Exchange { outcome: Err(Failure { kind, source: None }), bytes_sent };
        let grant = |life: u64, fields: &str| {
            let token = format!("canary-tok-{number}");
            let until = Instant::now() + Duration::from_secs(life);
            self.with(|state| state.tokens.insert(token.clone(), until));
            ok(200, format!(r#"{{"access_token":"{token}","token_type":"Bearer"{fields}}}"#))
        };
        match fault {
            None => grant(3600, r#","expires_in":3600"#),
            Some(TokenFault::NoExpiry) => grant(3600, ""),
            Some(TokenFault::Milliseconds) => grant(3600, r#","expires_in":3600000"#),
            Some(TokenFault::ShortLife) => grant(240, r#","expires_in":240"#),
            Some(TokenFault::Html) => ok(200, "<html>canary-secret</html>".to_owned()),
            Some(TokenFault::ServerError) => ok(500, String::new()),
            Some(TokenFault::AccessDenied) => {
                ok(200, r#"{"error":"Access Denied","status":"failure"}"#.to_owned())
            }
            Some(TokenFault::Lost) => failed(FailureKind::Lost, 100),
            Some(TokenFault::Refused) => {
                self.with(|state| state.token_times.pop());
                failed(FailureKind::Connect, 0)
            }
            Some(TokenFault::InvalidCode) => {
                ok(200, r#"{"error":"invalid_code","error_description":"canary-refresh"}"#.to_owned())
            }
        }
    }
}

impl Transport for Server {
    fn send(&self, request: Request, observer: Arc<dyn Observer>) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            if request.url.path() == "/oauth/v2/token" {
                self.token().await
            } else {
                let number = self.uploads();
                let exchange = self.upload(request, observer).await;
                self.with(|state| state.seen[number].ended = Some(Instant::now()));
                exchange
            }
        })
    }
}

/// Counts a request in flight, also when it is given up.
struct Active<'a>(&'a Server);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.active -= 1);
    }
}

fn success(file_id: &str) -> (u16, HeaderMap, String) {
    let body = format!(
        r#"{{"status":"success","code":"FILE_UPLOAD_SUCCESS","message":"file uploaded.","details":{{"file_id":"{file_id}"}}}}"#
    );
    (200, HeaderMap::new(), body)
}

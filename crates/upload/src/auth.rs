//! Tokens: where they come from, and one cache of the current one. However many workers ask, one renewal runs.
//!
//! Advice for maintainers: the single flight is the `tokio` lock around [`Held`], held across the request on purpose.
//! Who waited for it looks again at what is held before asking for more, and a failure is held too: sixteen workers
//! must not repeat one refusal sixteen times.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use rand::rngs::StdRng;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::excerpt::Redactor;
use crate::multipart::Payload;
use crate::refresh_log::{LogError, RefreshLog};
use crate::reporter::Reporter;
use crate::throttle::{Stop, Throttle};
use crate::token_answer::{self, TokenAnswer};
use crate::transport::{Exchange, Request, Transport};
use crate::{Error, ErrorKind, backoff};

mod command;

/// A token is renewed this long before it ends, or a quarter of its life before if that is less.
const EARLY: Duration = Duration::from_mins(5);
/// For one request to the token endpoint.
const REQUEST: Duration = Duration::from_mins(1);

/// What a refresh needs (Zoho's `refresh.html`).
#[derive(Clone)]
pub struct RefreshCredentials {
    /// The client's id.
    pub client_id: SecretString,
    /// The client's secret.
    pub client_secret: SecretString,
    /// The refresh token; it works in its own data centre only.
    pub refresh_token: SecretString,
}

/// What tokens come from. Shows nothing of itself:
///
/// ```
/// use upload::Credentials;
///
/// let credentials = Credentials { access_token: Some("1000.secret".into()), ..Credentials::default() };
/// assert_eq!(format!("{credentials:?}"), "Credentials([redacted])");
/// ```
///
/// With several, the access token is used until a 401, then the refresh token, then the command.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A token as it stands; used until a 401.
    pub access_token: Option<SecretString>,
    /// What new tokens are asked for with.
    pub refresh: Option<RefreshCredentials>,
    /// A shell command whose standard output is an access token; asked again on a 401.
    pub token_command: Option<String>,
}

impl fmt::Debug for RefreshCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshCredentials([redacted])")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// A token that is good as far as is known.
#[derive(Clone)]
pub(crate) struct AccessToken {
    secret: SecretString,
    /// Counts the tokens of this run, from 1: says which one a 401 was about.
    pub(crate) generation: u64,
    renew_at: Option<Instant>,
    pub(crate) grant: Arc<GrantFacts>,
}

/// What is known of a token besides itself.
#[derive(Debug, Default)]
pub(crate) struct GrantFacts {
    pub(crate) source: &'static str,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) scope: Option<String>,
    pub(crate) api_domain: Option<String>,
}

impl AccessToken {
    /// Whether it need not be renewed yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.renew_at.is_none_or(|at| Instant::now() < at)
    }

    /// `Zoho-oauthtoken` and the token: not `Bearer`, whatever `token_type` says.
    pub(crate) fn header(&self) -> Result<HeaderValue, Stop> {
        let value = format!("Zoho-oauthtoken {}", self.secret.expose_secret());
        let mut value = HeaderValue::from_str(&value).map_err(|_invalid| unusable(self.grant.source))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([redacted])")
    }
}

/// What a cache is made of.
pub(crate) struct Settings {
    pub(crate) credentials: Credentials,
    pub(crate) token_url: Url,
    pub(crate) refresh_log: Option<PathBuf>,
    pub(crate) max_wait: Duration,
}

/// The current token, shared by all workers.
pub(crate) struct TokenCache {
    credentials: Credentials,
    token_url: Url,
    max_wait: Duration,
    wall: Wall,
    transport: Arc<dyn Transport>,
    throttle: Arc<Throttle>,
    redactor: Arc<Redactor>,
    reporter: Arc<dyn Reporter>,
    rng: Arc<Mutex<StdRng>>,
    held: tokio::sync::Mutex<Held>,
}

struct Held {
    token: Option<AccessToken>,
    generation: u64,
    /// The access token that was given is used once.
    given_used: bool,
    log: RefreshLog,
    failed: Option<Stop>,
}

/// What a cache shares with the rest of the client.
pub(crate) struct Shared {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) rng: Arc<Mutex<StdRng>>,
    pub(crate) wall: Wall,
}

impl TokenCache {
    pub(crate) fn new(settings: Settings, shared: Shared) -> Result<TokenCache, Error> {
        let Settings { credentials, token_url, refresh_log, max_wait } = settings;
        let refresh = credentials.refresh.as_ref();
        let secrets = [
            credentials.access_token.as_ref(),
            refresh.map(|refresh| &refresh.client_id),
            refresh.map(|refresh| &refresh.client_secret),
            refresh.map(|refresh| &refresh.refresh_token),
        ];
        for secret in secrets.into_iter().flatten() {
            shared.redactor.learn(secret);
            if !is_token(secret.expose_secret().trim()) {
                return Err(Error::config("a credential is empty or holds a blank or control character")
                    .with_hint("check the file or variable it comes from: one line, nothing else"));
            }
        }
        if credentials.access_token.is_none() && refresh.is_none() && credentials.token_command.is_none() {
            return Err(Error::config("no credentials").with_hint(
                "set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN, or ZOHO_ACCESS_TOKEN",
            ));
        }
        let log = RefreshLog::open(refresh_log, shared.wall.now())
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()).with_source(error.source))?;
        Ok(TokenCache {
            credentials,
            token_url,
            max_wait,
            wall: shared.wall,
            transport: shared.transport,
            throttle: shared.throttle,
            redactor: shared.redactor,
            reporter: shared.reporter,
            rng: shared.rng,
            held: tokio::sync::Mutex::new(Held {
                token: None,
                generation: 0,
                given_used: false,
                log,
                failed: None,
            }),
        })
    }

    /// The current token, renewed if it is about to end.
    pub(crate) async fn token(&self) -> Result<AccessToken, Stop> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.token.as_ref().filter(|token| token.is_fresh()) {
            return Ok(token.clone());
        }
        self.obtain(&mut held).await
    }

    /// Another token than that of `stale`, which met a 401. If there is one by now, no request is made.
    pub(crate) async fn renew(&self, stale: u64) -> Result<AccessToken, Stop> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.token.as_ref().filter(|token| token.generation > stale && token.is_fresh())
        {
            return Ok(token.clone());
        }
        held.token = None;
        self.obtain(&mut held).await
    }

    async fn obtain(&self, held: &mut Held) -> Result<AccessToken, Stop> {
        if let Some(stop) = &held.failed {
            return Err(stop.clone());
        }
        let found = self.find(held).await;
        match found {
            Ok((secret, grant)) => {
                let secret = SecretString::from(secret.expose_secret().trim());
                self.redactor.learn(&secret);
                held.generation += 1;
                let renew_at = grant
                    .lifetime
                    .filter(|lifetime| !lifetime.is_zero())
                    .map(|lifetime| Instant::now() + lifetime.saturating_sub(EARLY.min(lifetime / 4)));
                let generation = held.generation;
                let token = AccessToken { secret, generation, renew_at, grant: Arc::new(grant) };
                held.token = Some(token.clone());
                Ok(token)
            }
            Err(stop) => {
                held.failed = Some(stop.clone());
                Err(stop)
            }
        }
    }

    async fn find(&self, held: &mut Held) -> Result<(SecretString, GrantFacts), Stop> {
        if let Some(token) = self.credentials.access_token.as_ref().filter(|_| !held.given_used) {
            held.given_used = true;
            return Ok((
                token.clone(),
                GrantFacts { source: "the access token given", ..GrantFacts::default() },
            ));
        }
        if let Some(refresh) = &self.credentials.refresh {
            return self.refresh(refresh, &mut held.log).await;
        }
        if let Some(line) = &self.credentials.token_command {
            let token = command::run(line).await?;
            if !is_token(token.expose_secret().trim()) {
                return Err(unusable("the token command"));
            }
            return Ok((token, GrantFacts { source: "the token command", ..GrantFacts::default() }));
        }
        Err(Stop::new(
            ErrorKind::Auth,
            "the access token is not accepted and there is nothing to renew it with",
            "the token is expired, revoked or of another data centre: check --dc, or give a refresh token",
        ))
    }

    async fn refresh(
        &self,
        refresh: &RefreshCredentials,
        log: &mut RefreshLog,
    ) -> Result<(SecretString, GrantFacts), Stop> {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let quota = log.wait(self.wall.now());
            if !quota.is_zero() {
                self.rest(begun, quota, "eight tokens were asked for in ten minutes").await?;
                continue;
            }
            log.record(self.wall.now()).map_err(|error| log_failed(&error))?;
            let asked = Instant::now();
            let Exchange { outcome, bytes_sent } =
                self.transport.send(self.request(refresh), Arc::new(())).await;
            let (why, wait) = match outcome {
                Ok(answer) => {
                    match token_answer::read(answer.status, &answer.headers, &answer.body, self.wall.now()) {
                        TokenAnswer::Granted(grant) => {
                            let lifetime = grant.lifetime.saturating_sub(asked.elapsed());
                            let facts = GrantFacts {
                                source: "the refresh token",
                                lifetime: Some(lifetime),
                                scope: grant.scope,
                                api_domain: grant.api_domain,
                            };
                            return Ok((grant.access_token, facts));
                        }
                        TokenAnswer::Refused { error, hint } => {
                            let error = self.redactor.line(&error);
                            let said = self.redactor.excerpt(&answer.body);
                            let mut stop = Stop::new(
                                ErrorKind::Auth,
                                format!(
                                    "no token: the token endpoint answered {} `{error}`: {said}",
                                    answer.status
                                ),
                                hint,
                            );
                            stop.http_status = Some(answer.status);
                            stop.code = Some(error);
                            return Err(stop);
                        }
                        TokenAnswer::Denied { wait } => {
                            ("the token endpoint says too many tokens were asked for".to_owned(), Some(wait))
                        }
                        TokenAnswer::Retry { why, wait } => (why, wait),
                    }
                }
                Err(failure) => {
                    if failure.kind == crate::FailureKind::Certificate {
                        return Err(Stop::new(
                            ErrorKind::RunRefused,
                            format!("no token: {}", failure.kind),
                            "check --accounts-url, the clock, and the certificate authorities",
                        ));
                    }
                    if bytes_sent == 0 {
                        log.forget_last().map_err(|error| log_failed(&error))?;
                    }
                    if let Some(source) = &failure.source {
                        tracing::debug!(error = %source, "the token endpoint did not answer");
                    }
                    (format!("the token endpoint: {}", failure.kind), None)
                }
            };
            let wait = wait.unwrap_or_else(|| {
                backoff::rest(failures, &mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
            });
            failures += 1;
            self.rest(begun, wait, &why).await?;
        }
    }

    /// Rests, unless that would be longer than anybody may wait.
    async fn rest(&self, begun: Instant, wait: Duration, why: &str) -> Result<(), Stop> {
        if begun.elapsed() + wait > self.max_wait {
            return Err(Stop::new(
                ErrorKind::Stopped { retry_after: Some(wait) },
                format!("no token: {why}"),
                "run again later: what is uploaded stays uploaded",
            ));
        }
        if wait >= Duration::from_secs(1) {
            self.reporter.notice(&format!("waiting {} s for a token: {why}", wait.as_secs()));
        }
        self.throttle.rest(wait).await
    }

    /// The parameters stand in the body: URLs end up in logs.
    fn request(&self, refresh: &RefreshCredentials) -> Request {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", refresh.client_id.expose_secret().trim())
            .append_pair("client_secret", refresh.client_secret.expose_secret().trim())
            .append_pair("refresh_token", refresh.refresh_token.expose_secret().trim())
            .finish();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Request {
            method: Method::POST,
            url: self.token_url.clone(),
            headers,
            payload: Payload { segments: vec![body.into()] },
            guard: REQUEST,
        }
    }
}

/// The time of day, moved on by tokio's clock, so that a paused clock holds it too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    time: SystemTime,
    at: Instant,
}

impl Wall {
    pub(crate) fn new(time: SystemTime) -> Wall {
        Wall { time, at: Instant::now() }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.time + self.at.elapsed()
    }
}

/// What can stand in a header without ending it.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn unusable(source: &str) -> Stop {
    Stop::new(
        ErrorKind::Auth,
        format!("what {source} gives is no token: it is empty or holds a blank or control character"),
        "one line with the token and nothing else",
    )
}

fn log_failed(error: &LogError) -> Stop {
    Stop::new(
        ErrorKind::Io,
        format!("{error}: {}", error.source),
        "check that the output directory can be written",
    )
}

#[cfg(test)]
mod tests;

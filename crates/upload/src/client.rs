//! One archive becomes one `file_id`: the loop of attempts, and nothing else. What an outcome means is `classify`'s,
//! when to start is the throttle's, what to authorise with is the token cache's.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::api::{Envelope, FileId};
use crate::auth::{self, AccessToken, Credentials, TokenCache, Wall};
use crate::classify::{Acceptance, Disposition, Observed, Receipt, asks_to_wait, classify};
use crate::excerpt::Redactor;
use crate::multipart::Form;
use crate::reporter::{Refused, Reporter, Witness};
use crate::target::{Target, is_loopback};
use crate::throttle::{Admission, Bell, Outcome, Pacing, Stop, Throttle};
use crate::transport::http::{Http, Settings};
use crate::transport::{Answer, Exchange, Observer, Request, Timeouts, Transport};
use crate::{Error, ErrorKind, backoff};

mod check;

pub use check::AuthReport;

/// Bodies that went out without an answer, per archive.
const AMBIGUOUS_AT_MOST: u32 = 8;
/// The slowest line worth waiting for, for each worker.
const SLOWEST_BYTES_PER_SECOND: u64 = 8 << 10;
/// What a request may take besides its bytes.
const GUARD: Duration = Duration::from_mins(1);
const X_CRM_ORG: HeaderName = HeaderName::from_static("x-crm-org");
const FEATURE: HeaderName = HeaderName::from_static("feature");

/// How a client conducts itself. No `Default`: the defaults are the command line's.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where requests go.
    pub target: Target,
    /// What tokens come from.
    pub credentials: Credentials,
    /// The most uploads at once; 0 is taken as 1.
    pub concurrency: usize,
    /// Uploads begun in a second, all workers together; 0.0 = no limit.
    pub starts_per_second: f64,
    /// Bytes per second, all workers together; `None` = no limit.
    pub bwlimit: Option<u64>,
    /// How long to go on without any success.
    pub max_wait: Duration,
    /// The proxy's URL as the environment gave it; never used for loopback.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without the proxy, as the environment gave them.
    pub no_proxy: Option<String>,
    /// Certificate authorities besides the system's, PEM.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// `zbulk/<version>`.
    pub user_agent: String,
    /// Where times of token refreshes are remembered across runs (no secret in it); `None`: not remembered.
    pub refresh_log: Option<std::path::PathBuf>,
}

/// An archive that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The server's name for it.
    pub file_id: FileId,
    /// `details.created_time` as it was given.
    pub created_time: Option<String>,
    /// The status of the answer that held the `file_id`.
    pub http_status: u16,
    /// `code` of that answer; empty where it had none.
    pub code: String,
    /// Attempts made within this run.
    pub attempts: u32,
    /// From the call to its end.
    pub elapsed: Duration,
    /// How many earlier attempts may have left a file at the server that nobody refers to.
    pub possible_orphans: u32,
}

/// Sends archives. Share it between tasks: throttle and token are one for all.
pub struct Client {
    target: Target,
    concurrency: usize,
    bwlimit: Option<u64>,
    transport: Arc<dyn Transport>,
    throttle: Arc<Throttle>,
    tokens: TokenCache,
    redactor: Arc<Redactor>,
    reporter: Arc<dyn Reporter>,
    rng: Arc<Mutex<StdRng>>,
    wall: Wall,
    /// Every `file_id` that stands for an archive: none may stand for two.
    seen: Mutex<HashSet<FileId>>,
}

impl Client {
    /// Makes the client; no request is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a URL, a credential, a proxy or a certificate authority is not valid, or there are no
    /// credentials. [`ErrorKind::Io`]: the refresh log cannot be read.
    pub fn new(config: ClientConfig, reporter: Arc<dyn Reporter>) -> Result<Client, Error> {
        Client::with_timeouts(config, Timeouts::default(), reporter)
    }

    /// As [`new`](Self::new), with other timeouts.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_timeouts(
        config: ClientConfig,
        timeouts: Timeouts,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Client, Error> {
        config.target.check()?;
        let urls = [&config.target.upload_url, &config.target.accounts_url, &config.target.api_url];
        let http = Http::new(&Settings {
            user_agent: &config.user_agent,
            connections: config.concurrency.max(1),
            https_proxy: config.https_proxy.as_deref().filter(|url| !url.is_empty()),
            no_proxy: config.no_proxy.as_deref(),
            extra_ca_pem: &config.extra_ca_pem,
            tls: urls.into_iter().any(|url| !is_loopback(url) || url.scheme() == "https"),
            bwlimit: config.bwlimit,
            timeouts,
        })?;
        Client::over(Arc::new(http), config, rand::random(), SystemTime::now(), reporter)
    }

    /// Over any carrier, with its randomness and its time of day given.
    pub(crate) fn over(
        transport: Arc<dyn Transport>,
        config: ClientConfig,
        seed: u64,
        now: SystemTime,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Client, Error> {
        config.target.check()?;
        if config.starts_per_second.is_nan() || config.starts_per_second < 0.0 {
            return Err(Error::config(format!("`{}` starts per second", config.starts_per_second)));
        }
        let spacing = if config.starts_per_second == 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(config.starts_per_second.recip()).map_err(|source| {
                Error::config(format!("`{}` starts per second", config.starts_per_second)).with_source(source)
            })?
        };
        let concurrency = config.concurrency.max(1);
        let pacing = Pacing { concurrency, spacing, max_wait: config.max_wait };
        let throttle = Throttle::new(pacing, Arc::clone(&reporter));
        let redactor = Arc::new(Redactor::new());
        let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let wall = Wall::new(now);
        let tokens = TokenCache::new(
            auth::Settings {
                credentials: config.credentials,
                token_url: config.target.token_url(),
                refresh_log: config.refresh_log,
                max_wait: config.max_wait,
            },
            auth::Shared {
                transport: Arc::clone(&transport),
                throttle: Arc::clone(&throttle),
                redactor: Arc::clone(&redactor),
                reporter: Arc::clone(&reporter),
                rng: Arc::clone(&rng),
                wall,
            },
        )?;
        Ok(Client {
            target: config.target,
            concurrency,
            bwlimit: config.bwlimit,
            transport,
            throttle,
            tokens,
            redactor,
            reporter,
            rng,
            wall,
            seen: Mutex::new(HashSet::new()),
        })
    }

    /// Tells the client of `file_id`s that earlier runs have: an answer that repeats one is not believed.
    pub fn remember(&self, file_ids: impl IntoIterator<Item = FileId>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(file_ids);
    }

    /// Sends one archive until it has a `file_id` or cannot have one. Callable from many tasks at once.
    ///
    /// `name` is the archive's file name, which reporter and witness hear too. The archive's bytes are shared, never
    /// copied. Dropping the future gives the attempt in flight up.
    ///
    /// # Errors
    /// [`ErrorKind::ChunkRefused`] for this archive alone. [`ErrorKind::RunRefused`], [`ErrorKind::Auth`],
    /// [`ErrorKind::Stopped`] and [`ErrorKind::Io`] end every call of this client, now and later, with the first cause.
    /// [`ErrorKind::Stopped`] after eight attempts without an answer ends this call only. [`ErrorKind::Witness`]: the
    /// witness refused.
    pub async fn upload(&self, name: &str, archive: Bytes, witness: &dyn Witness) -> Result<Uploaded, Error> {
        let mut run = Run {
            client: self,
            name,
            archive,
            witness,
            begun: Instant::now(),
            attempts: 0,
            possible_orphans: 0,
            ambiguous: 0,
            failures: 0,
            refused_token: None,
        };
        let result = run.drive().await;
        let (attempts, elapsed) = (run.attempts, run.begun.elapsed());
        let possible_orphans = run.possible_orphans;
        match result {
            Ok((receipt, http_status)) => Ok(Uploaded {
                file_id: receipt.file_id,
                created_time: receipt.created_time,
                http_status,
                code: receipt.code.unwrap_or_default(),
                attempts,
                elapsed,
                possible_orphans,
            }),
            Err(error) => Err(Error { attempts, elapsed, possible_orphans, ..error }),
        }
    }

    fn request(&self, form: &Form, token: &AccessToken) -> Result<Request, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header()?);
        headers.insert(FEATURE, HeaderValue::from_static("bulk-write"));
        headers.insert(X_CRM_ORG, header("org", &self.target.org)?);
        headers.insert(CONTENT_TYPE, header("content type", &form.content_type)?);
        Ok(Request {
            method: Method::POST,
            url: self.target.upload_url.clone(),
            headers,
            payload: form.payload.clone(),
            guard: self.guard(form.payload.len_bytes()),
        })
    }

    /// 60 s + bytes × workers / min(8 KiB/s × workers, bwlimit): a line may be slow, but not without end.
    fn guard(&self, bytes: u64) -> Duration {
        let workers = self.concurrency as u64;
        let slowest = SLOWEST_BYTES_PER_SECOND.saturating_mul(workers);
        let rate = self.bwlimit.map_or(slowest, |limit| slowest.min(limit.max(1)));
        GUARD + Duration::from_secs(bytes.saturating_mul(workers) / rate)
    }

    /// An error that ends the run for every worker.
    fn end_run(&self, stop: Stop) -> Error {
        self.throttle.stop(stop.clone());
        stop.into()
    }

    /// Whether this id is new; from now on it is not.
    fn claim(&self, file_id: &FileId) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(file_id.clone())
    }
}

/// One archive on its way.
struct Run<'a> {
    client: &'a Client,
    name: &'a str,
    archive: Bytes,
    witness: &'a dyn Witness,
    begun: Instant,
    attempts: u32,
    possible_orphans: u32,
    ambiguous: u32,
    /// In a row, for the backoff.
    failures: u32,
    /// The token of the attempt before, if it met a 401.
    refused_token: Option<u64>,
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<(Receipt, u16), Error> {
        let client = self.client;
        loop {
            let mut admission = client.throttle.admit().await?;
            let mut token = self.token().await?;
            self.attempts += 1;
            self.witness.attempt(self.name, self.attempts).await.map_err(refused)?;
            loop {
                admission.start().await?;
                if token.is_fresh() {
                    break;
                }
                token = self.token().await?;
            }
            let form = {
                let mut rng = client.rng.lock().unwrap_or_else(PoisonError::into_inner);
                Form::new(self.name, self.archive.clone(), &mut *rng)
            };
            let body_bytes = form.payload.len_bytes();
            let request = client.request(&form, &token)?;
            let observer = Arc::new(Watch {
                reporter: Arc::clone(&client.reporter),
                name: self.name.to_owned(),
                bell: admission.bell(),
            });
            let exchange = client.transport.send(request, observer).await;
            let disposition = classify(&Observed {
                outcome: match &exchange.outcome {
                    Ok(answer) => Ok((answer.status, &answer.headers, &answer.body)),
                    Err(failure) => Err(failure.kind),
                },
                bytes_sent: exchange.bytes_sent,
                body_bytes,
                now: client.wall.now(),
            });
            if let Some(done) = self.conclude(disposition, exchange, admission, &token).await? {
                return Ok(done);
            }
        }
    }

    /// Acts on what the attempt came to; `None`: make another.
    async fn conclude(
        &mut self,
        disposition: Disposition,
        exchange: Exchange,
        admission: Admission,
        token: &AccessToken,
    ) -> Result<Option<(Receipt, u16)>, Error> {
        let client = self.client;
        let met_401 = self.refused_token.take();
        match disposition {
            Disposition::Done(receipt) => {
                let status = exchange.outcome.as_ref().map_or(0, |answer| answer.status);
                if client.claim(&receipt.file_id) {
                    admission.finish(Outcome::Success);
                    return Ok(Some((receipt, status)));
                }
                let why = format!("the server gave file_id `{}` to another archive too", receipt.file_id);
                self.again(admission, &why, false, Acceptance::Unknown, None).await?;
            }
            Disposition::Refresh => {
                admission.finish(Outcome::Nothing);
                if met_401.is_some_and(|refused| refused < token.generation) {
                    let mut stop =
                        self.stop(ErrorKind::Auth, &exchange, "a new token is not accepted either");
                    stop.hint = Some(
                        "the token may be of another data centre: check --dc, and the org's own".to_owned(),
                    );
                    return Err(client.end_run(stop));
                }
                self.refused_token = Some(token.generation);
                client.tokens.renew(token.generation).await.map_err(|stop| client.end_run(stop))?;
            }
            Disposition::Throttled { retry_after } => {
                admission.finish(Outcome::Throttled { retry_after });
            }
            Disposition::CreditsGone { retry_after } => {
                admission.finish(Outcome::Answered);
                let kind = ErrorKind::Stopped { retry_after };
                let mut stop = self.stop(kind, &exchange, "the org's API credits of 24 hours are used up");
                stop.hint =
                    Some("run again when some are free: they are counted over the last 24 hours".to_owned());
                return Err(client.end_run(stop));
            }
            Disposition::Retry { cause, acceptance, retry_after } => {
                if let Err(failure) = &exchange.outcome
                    && let Some(source) = &failure.source
                {
                    tracing::debug!(archive = self.name, error = %source, "{cause}");
                }
                self.again(admission, &cause.to_string(), cause.is_timeout(), acceptance, retry_after)
                    .await?;
            }
            Disposition::FailChunk { hint } => {
                admission.finish(Outcome::Answered);
                let mut stop =
                    self.stop(ErrorKind::ChunkRefused, &exchange, "the server refuses the archive");
                stop.hint = hint.map(str::to_owned);
                return Err(stop.into());
            }
            Disposition::FailAuth { hint } => {
                admission.finish(Outcome::Answered);
                let mut stop = self.stop(ErrorKind::Auth, &exchange, "the server does not allow the upload");
                stop.hint = Some(hint.to_owned());
                return Err(client.end_run(stop));
            }
            Disposition::FailRun { hint } => {
                admission.finish(Outcome::Answered);
                let mut stop = self.stop(ErrorKind::RunRefused, &exchange, "the server refuses the upload");
                stop.hint = Some(hint.to_owned());
                let error = client.end_run(stop);
                let source = exchange.outcome.err().and_then(|failure| failure.source);
                return Err(Error { source, ..error });
            }
        }
        Ok(None)
    }

    /// Prepares another attempt: records, gives the place back, rests.
    async fn again(
        &mut self,
        admission: Admission,
        why: &str,
        timeout: bool,
        acceptance: Acceptance,
        retry_after: Option<Duration>,
    ) -> Result<(), Error> {
        let client = self.client;
        if acceptance != Acceptance::Impossible {
            self.possible_orphans += 1;
            self.witness.ambiguous(self.name, self.attempts).await.map_err(refused)?;
        }
        admission.finish(Outcome::Failed { timeout, retry_after });
        if acceptance == Acceptance::Unknown {
            self.ambiguous += 1;
            if self.ambiguous >= AMBIGUOUS_AT_MOST {
                return Err(Error::new(
                    ErrorKind::Stopped { retry_after: None },
                    format!("sent {} times and never told the outcome; the last time {why}", self.ambiguous),
                )
                .with_hint("run again later: what is uploaded stays uploaded"));
            }
        }
        let rest = {
            let mut rng = client.rng.lock().unwrap_or_else(PoisonError::into_inner);
            backoff::rest(self.failures, &mut *rng)
        };
        self.failures = self.failures.saturating_add(1);
        client.reporter.notice(&format!(
            "{}: attempt {} failed, {why}; again in {:.1} s",
            self.name,
            self.attempts,
            rest.as_secs_f64()
        ));
        client.throttle.rest(rest).await?;
        Ok(())
    }

    async fn token(&self) -> Result<AccessToken, Error> {
        self.client.tokens.token().await.map_err(|stop| self.client.end_run(stop))
    }

    /// The facts of a refusal: what failed, and what the server said, made fit to be shown.
    fn stop(&self, kind: ErrorKind, exchange: &Exchange, what: &str) -> Stop {
        let redactor = &self.client.redactor;
        match &exchange.outcome {
            Ok(Answer { status, body, .. }) => {
                let code = Envelope::read(body).and_then(|envelope| envelope.code);
                let said = if body.is_empty() { "no body".to_owned() } else { redactor.excerpt(body) };
                Stop {
                    kind,
                    message: format!("{what}: {status}, {said}"),
                    hint: None,
                    http_status: Some(*status),
                    code: code.map(|code| redactor.line(&code)),
                }
            }
            Err(failure) => Stop {
                kind,
                message: format!("{what}: {}", failure.kind),
                hint: None,
                http_status: None,
                code: None,
            },
        }
    }
}

/// Passes on what the carrier sees.
struct Watch {
    reporter: Arc<dyn Reporter>,
    name: String,
    bell: Bell,
}

impl Observer for Watch {
    fn sent(&self, bytes: u64) {
        self.reporter.bytes_sent(&self.name, bytes);
    }

    fn head(&self, status: u16, headers: &HeaderMap) {
        if asks_to_wait(status, headers) {
            self.bell.ring();
        }
    }
}

fn refused(_: Refused) -> Error {
    Error::new(ErrorKind::Witness, "stopped by the run's owner")
}

fn header(what: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value)
        .map_err(|source| Error::config(format!("the {what} is no header value")).with_source(source))
}

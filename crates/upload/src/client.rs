//! The client: what it is made of and what it sends. All its calls share one throttle, one token and one set of
//! `file_id`s. What an outcome means is `classify`'s, when to start is the throttle's, what to authorise with is the
//! token cache's; the loop of attempts is in `run`.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::Error;
use crate::api::FileId;
use crate::auth::{self, AccessToken, Credentials, TokenCache, Wall};
use crate::excerpt::Redactor;
use crate::multipart::Form;
use crate::reporter::{Reporter, Witness};
use crate::target::{Target, is_loopback};
use crate::throttle::{Pacing, Stop, Throttle};
use crate::transport::http::{Http, Settings};
use crate::transport::{Request, Timeouts, Transport};

mod check;
mod run;

use run::Run;

pub use check::AuthReport;

/// The slowest line worth waiting for, for each worker.
const SLOWEST_BYTES_PER_SECOND: u64 = 8 << 10;
/// What a request may take besides its bytes.
const GUARD: Duration = Duration::from_mins(1);
const X_CRM_ORG: HeaderName = HeaderName::from_static("x-crm-org");
const FEATURE: HeaderName = HeaderName::from_static("feature");

/// How a client conducts itself. No `Default`: the defaults are the command line's.
#[derive(Clone)]
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

/// The proxy's URL may hold a password.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("target", &self.target)
            .field("credentials", &self.credentials)
            .field("concurrency", &self.concurrency)
            .field("starts_per_second", &self.starts_per_second)
            .field("bwlimit", &self.bwlimit)
            .field("max_wait", &self.max_wait)
            .field("https_proxy", &self.https_proxy.as_ref().map(|_| "[redacted]"))
            .field("no_proxy", &self.no_proxy)
            .field("user_agent", &self.user_agent)
            .field("refresh_log", &self.refresh_log)
            .finish_non_exhaustive()
    }
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
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use upload::{BoxFuture, Client, ClientConfig, Credentials, DataCentre, Refused, Target, Witness};
///
/// /// Writes nothing down, so it cannot know after a crash what was under way.
/// struct Careless;
///
/// impl Witness for Careless {
///     fn attempt<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(), Refused>> {
///         Box::pin(async { Ok(()) })
///     }
///     fn ambiguous<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(), Refused>> {
///         Box::pin(async { Ok(()) })
///     }
/// }
///
/// # async fn example(token: String, archive: bytes::Bytes) -> Result<(), upload::Error> {
/// let config = ClientConfig {
///     target: Target::of(DataCentre::Us, "v2", "808232144")?,
///     credentials: Credentials { access_token: Some(token.into()), ..Credentials::default() },
///     concurrency: 4,
///     starts_per_second: 5.0,
///     bwlimit: None,
///     max_wait: Duration::from_secs(30 * 60),
///     https_proxy: None,
///     no_proxy: None,
///     extra_ca_pem: Vec::new(),
///     user_agent: "zbulk/0.1.0".to_owned(),
///     refresh_log: None,
/// };
/// let client = Client::new(config, Arc::new(()))?;
/// let uploaded = client.upload("Contacts-00001.zip", archive, &Careless).await?;
/// assert!(!uploaded.file_id.as_str().is_empty());
/// # Ok(())
/// # }
/// ```
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
    /// `Config`: a URL, a credential, a proxy or a certificate authority is not valid, or there are no
    /// credentials. `Io`: the refresh log cannot be read.
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
    /// `ChunkRefused` is about this archive alone. `RunRefused`, `Auth`, `Stopped` and `Io` end every call of this
    /// client, now and later, with the first cause; but `Stopped` after eight attempts that nobody answered ends this
    /// call only. `Witness`: the witness refused.
    pub async fn upload(&self, name: &str, archive: Bytes, witness: &dyn Witness) -> Result<Uploaded, Error> {
        if self.target.org.is_empty() {
            return Err(Error::config("no org to upload to".to_owned()));
        }
        Run::new(self, name, archive, witness).finish().await
    }

    /// Lets no further attempt start: every call ends as soon as it has nothing on the wire, with `Witness` unless the
    /// run has ended already. A request that is under way is carried to its end.
    pub fn stop(&self) {
        let message = "stopped by the run's owner".to_owned();
        let kind = crate::ErrorKind::Witness;
        self.throttle.stop(Stop { kind, message, hint: None, http_status: None, code: None });
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
            guard: guard(form.payload.len_bytes(), self.concurrency as u64, self.bwlimit),
        })
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

fn header(what: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value)
        .map_err(|source| Error::config(format!("the {what} is no header value")).with_source(source))
}

/// 60 s + bytes × workers / min(8 KiB/s × workers, bwlimit): a line may be slow, but not without end.
fn guard(bytes: u64, workers: u64, bwlimit: Option<u64>) -> Duration {
    let slowest = SLOWEST_BYTES_PER_SECOND.saturating_mul(workers);
    let rate = bwlimit.map_or(slowest, |limit| slowest.min(limit.max(1)));
    GUARD + Duration::from_secs(bytes.saturating_mul(workers) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_allows_8_kib_a_second_for_each_worker_or_the_share_of_the_limit() {
        let bytes = 8192 * 1000;
        assert_eq!(guard(bytes, 1, None), Duration::from_secs(1060));
        assert_eq!(guard(bytes, 4, None), Duration::from_secs(1060));
        assert_eq!(guard(bytes, 4, Some(8192)), Duration::from_secs(4060));
        assert_eq!(guard(bytes, 4, Some(1 << 30)), Duration::from_secs(1060));
        assert_eq!(guard(10, 1, Some(0)), Duration::from_secs(70));
    }

    #[test]
    fn a_configuration_shows_no_secret() {
        let config = ClientConfig {
            target: Target::of(crate::DataCentre::Us, "v2", "1").unwrap(),
            credentials: Credentials { access_token: Some("canary".into()), ..Credentials::default() },
            concurrency: 4,
            starts_per_second: 5.0,
            bwlimit: None,
            max_wait: Duration::from_mins(30),
            https_proxy: Some("http://me:canary@proxy.example".to_owned()),
            no_proxy: None,
            extra_ca_pem: Vec::new(),
            user_agent: "zbulk/0".to_owned(),
            refresh_log: None,
        };
        let text = format!("{config:?}");
        assert!(!text.contains("canary") && text.contains("concurrency: 4"), "{text}");
    }
}

//! A stand-in for Zoho on this machine: a real HTTP/1.1 server on loopback that takes uploads, gives tokens, knows
//! one organisation, and can be told to misbehave.
//!
//! # What it answers
//!
//! | request | answer |
//! |---|---|
//! | `POST /crm/{version}/upload` | the `file_id` under which the archive is now kept as `<dir>/<file_id>.zip` |
//! | `POST /oauth/v2/token` | an access token for the refresh token; parameters in the query or in a form body |
//! | `GET /crm/{version}/org` | the one organisation |
//!
//! Any `{version}` of the form `v2`, `v2.1` is served alike. The shapes and codes are those of Zoho's pages (Bulk
//! Write upload v2 to v8, OAuth, organisation, API limits, status codes) and of its `OpenAPI` files; nothing here
//! was compared with a live Zoho.
//!
//! # Where it is stricter than Zoho
//!
//! A request that pleases the sandbox should please Zoho, and an archive that pleases it should please a bulk write
//! job. So it refuses at upload what Zoho leaves open or finds only later. Such an answer is a 400 in Zoho's
//! envelope whose `details` hold `stricter_than_zoho: true`, the `check` below and the `reason`:
//!
//! | check | code | what is refused |
//! |---|---|---|
//! | `content_length` | `INVALID_DATA` | a body without Content-Length (Zoho does not say whether it takes chunked transfer) |
//! | `form` | `MANDATORY_NOT_FOUND` (`file`) | a body that is not a form of exactly one part, named `file`, with a filename |
//! | `file_name` | `INVALID_FILE_FORMAT` | a filename that does not end in `.zip` |
//! | `zip_form` | `INVALID_FILE_FORMAT` | no ZIP, bytes around it, headers that disagree, overlapping entries, no entry |
//! | `entry_flat`, `entry_name`, `entry_unique` | `INVALID_FILE_FORMAT` | folders and links; names not ending in `.csv`; two entries of one name, ignoring case |
//! | `entry_encrypted`, `entry_method`, `entry_size` | `INVALID_FILE_FORMAT` | encryption; methods other than stored and deflate; more than 4 GiB unpacked |
//! | `entry_data` | `INVALID_FILE_FORMAT` | data that does not unpack to the declared length and CRC |
//! | `csv_header`, `csv_columns`, `csv_records` | `INVALID_DATA` | no header, over 200 columns, over 25,000 records |
//! | `csv_utf8`, `csv_width`, `csv_quotes` | `INVALID_DATA` | text that is no UTF-8; a record with another number of fields than the header; an odd number of quotes |
//!
//! An archive over 26,214,400 bytes is `FILE_TOO_LARGE`, 400 on v2 and 413 on later versions, as the pages say.
//!
//! # What it invents
//!
//! Client id, client secret, refresh token and all access tokens are made up at every start and work nowhere else.
//! Access tokens live an hour; a refresh token gives ten in ten minutes; at most twenty calls are served at once
//! (Enterprise edition), the next is a 429. A [`FaultPlan`] changes these and everything else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod answers;
mod endpoints;
mod exchange;
mod fault;
mod gate;
mod log;
mod multipart;
mod plan;
mod reply;
mod server;
mod store;
mod tokens;
mod wire;
mod zip_check;

pub use self::log::{RecordedPart, RecordedRequest};
pub use self::plan::{Endpoint, FaultPlan, FaultPlanError};
use self::server::State;
use self::store::Store;

/// How to start a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where to listen: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Accepted archives are kept here as `<file_id>.zip`; created (mode 0700) where it is missing.
    pub dir: PathBuf,
    /// The text of a [`FaultPlan`]; `None` misbehaves nowhere.
    pub faults: Option<String>,
    /// Decides the plan's probabilities.
    pub seed: u64,
}

/// A running sandbox. Dropping it ends it at once; [`Sandbox::stop`] lets open exchanges finish.
///
/// # Example
///
/// ```
/// use upload::sandbox::{Sandbox, SandboxConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let listen = "127.0.0.1:0".parse()?;
/// let dir = dir.path().join("kept");
/// let sandbox = Sandbox::start(SandboxConfig { listen, dir, faults: None, seed: 0 }).await?;
/// assert!(sandbox.upload_url().ends_with("/crm/v2/upload"));
/// sandbox.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts the server on the current tokio runtime; it answers from the moment this returns.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is not loopback, and, with a [`FaultPlanError`] inside, for a fault plan
    /// that cannot be read. Otherwise what the system says of the socket or the directory.
    pub async fn start(config: SandboxConfig) -> io::Result<Sandbox> {
        let plan = FaultPlan::parse(config.faults.as_deref().unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = server::listen(config.listen, &plan)?;
        let address = listener.local_addr()?;
        let store = tokio::task::spawn_blocking(move || Store::open(&config.dir));
        let store = store.await.map_err(io::Error::other)??;

        let state = Arc::new(State::new(format!("http://{address}"), plan, config.seed, store));
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, state.clone(), stopped));
        Ok(Sandbox { address, state, stop, server: Some(server) })
    }

    /// The address it listens on, with the port it took.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The whole URL of the upload endpoint, with `v2` as the version.
    pub fn upload_url(&self) -> String {
        format!("{}/crm/v2/upload", self.state.base_url)
    }

    /// The base of the accounts host, without a path.
    pub fn accounts_url(&self) -> String {
        self.state.base_url.clone()
    }

    /// The base of the API host, without a path.
    pub fn api_url(&self) -> String {
        self.state.base_url.clone()
    }

    /// The organisation's zgid, as `X-CRM-ORG` wants it.
    pub fn org(&self) -> &str {
        self.state.account.zgid
    }

    /// The client id it takes.
    pub fn client_id(&self) -> &str {
        self.state.account.client_id.expose_secret()
    }

    /// The client secret it takes.
    pub fn client_secret(&self) -> &str {
        self.state.account.client_secret.expose_secret()
    }

    /// The refresh token it takes.
    pub fn refresh_token(&self) -> &str {
        self.state.account.refresh_token.expose_secret()
    }

    /// A new access token, outside the limit on refreshes: for clients that are given one and fetch none.
    pub fn issue_access_token(&self) -> String {
        self.state.tokens().issue(Instant::now()).expose_secret().to_owned()
    }

    /// Ends all access tokens at once.
    pub fn expire_tokens(&self) {
        self.state.tokens().expire_all();
    }

    /// All requests so far, in the order in which their heads arrived, without secrets.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.log.snapshot()
    }

    /// What a client needs, as one line of JSON: `upload_url`, `accounts_url`, `api_url`, `org`, `client_id`,
    /// `client_secret`, `refresh_token`. The secrets in it are worth nothing elsewhere.
    pub fn announcement(&self) -> String {
        let announcement = json!({
            "upload_url": self.upload_url(),
            "accounts_url": self.accounts_url(),
            "api_url": self.api_url(),
            "org": self.org(),
            "client_id": self.client_id(),
            "client_secret": self.client_secret(),
            "refresh_token": self.refresh_token(),
        });
        announcement.to_string()
    }

    /// Stops listening, gives open exchanges two seconds to end, and ends what is left.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the sandbox ended badly");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

/// Without the credentials, invented though they are.
impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("address", &self.address).finish_non_exhaustive()
    }
}

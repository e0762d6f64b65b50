//! From a destination to what a client is made of. With `--sandbox` the stand-in is started here, and lives as long as
//! the connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use upload::sandbox::{Sandbox, SandboxConfig};
use upload::{ClientConfig, Credentials, DataCentre, RefreshCredentials, Target};

use crate::config::{Destination, Pace};
use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::publish::create_dir;

/// What requests say of their sender.
const USER_AGENT: &str = concat!("zbulk/", env!("CARGO_PKG_VERSION"));

/// The sandbox's directory in DIR.
pub(crate) const SANDBOX: &str = "sandbox";

/// Where the times of token refreshes are kept across runs, in DIR. No secret is in it.
const REFRESH_LOG: &str = "token-refreshes.json";

/// What a client is made of, and the sandbox that it will talk to, if it is one.
pub(crate) struct Connection {
    /// For [`upload::Client::new`].
    pub config: ClientConfig,
    /// To be stopped after the last upload.
    pub sandbox: Option<Sandbox>,
}

/// Makes the configuration of a client that sends to `destination`. A sandbox keeps what it accepts in
/// `dir`/sandbox; `dir` must exist.
///
/// # Errors
/// `Unexpected` if the sandbox cannot start; `Usage` if a setting is refused.
pub(crate) async fn connect(destination: Destination, pace: Pace, dir: &Path) -> Result<Connection> {
    match destination {
        Destination::Zoho(zoho) => {
            let credentials = zoho.credentials.into_upload();
            let config = client_config(zoho.target, credentials, pace, Some(dir));
            Ok(Connection { config, sandbox: None })
        }
        Destination::Sandbox => {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let dir = dir.join(SANDBOX);
            // Of DIR, and so entered through no link; that of `zbulk sandbox` is the user's own.
            create_dir(&dir)
                .or_fail(ExitCode::Unexpected, || format!("cannot create `{}`", dir.display()))?;
            let config = SandboxConfig { listen, dir, faults: None, seed: 0 };
            let sandbox =
                Sandbox::start(config).await.or_fail(ExitCode::Unexpected, || "cannot start the sandbox")?;
            let config = client_config(target_of(&sandbox)?, credentials_of(&sandbox), pace, None);
            Ok(Connection { config, sandbox: Some(sandbox) })
        }
    }
}

/// What a client is made of.
pub(crate) fn client_config(
    target: Target,
    credentials: Credentials,
    pace: Pace,
    remember_in: Option<&Path>,
) -> ClientConfig {
    ClientConfig {
        target,
        credentials,
        concurrency: pace.concurrency,
        starts_per_second: pace.starts_per_second,
        bwlimit: pace.bwlimit,
        max_wait: pace.max_wait,
        https_proxy: pace.https_proxy,
        no_proxy: pace.no_proxy,
        extra_ca_pem: pace.extra_ca_pem,
        user_agent: USER_AGENT.to_owned(),
        refresh_log: remember_in.map(|dir| dir.join(REFRESH_LOG)),
    }
}

fn target_of(sandbox: &Sandbox) -> Result<Target> {
    let target = Target::of(DataCentre::Us, "v2", sandbox.org())?
        .with_upload_url(&sandbox.upload_url())?
        .with_accounts_url(&sandbox.accounts_url())?
        .with_api_url(&sandbox.api_url())?;
    Ok(target)
}

fn credentials_of(sandbox: &Sandbox) -> Credentials {
    let refresh = RefreshCredentials {
        client_id: sandbox.client_id().into(),
        client_secret: sandbox.client_secret().into(),
        refresh_token: sandbox.refresh_token().into(),
    };
    Credentials { access_token: None, refresh: Some(refresh), token_command: None }
}

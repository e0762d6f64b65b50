//! Where requests go: data centres and endpoints. Every URL is https, or http to loopback: checked here, once.

use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use crate::Error;

/// A Zoho data centre: accounts and orgs live in exactly one.
///
/// ```
/// use upload::DataCentre;
///
/// assert_eq!("EU".parse(), Ok(DataCentre::Eu));
/// assert_eq!(DataCentre::Au.as_str(), "au");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataCentre {
    /// United States, `.com`.
    Us,
    /// Europe, `.eu`.
    Eu,
    /// India, `.in`.
    In,
    /// Australia, `.com.au`.
    Au,
    /// Japan, `.jp`.
    Jp,
    /// China, `.com.cn`.
    Cn,
    /// Canada, `zohocloud.ca`.
    Ca,
    /// Saudi Arabia, `.sa`.
    Sa,
}

impl DataCentre {
    /// All of them, in the order of Zoho's SDKs.
    pub const ALL: [DataCentre; 8] =
        [Self::Us, Self::Eu, Self::In, Self::Au, Self::Jp, Self::Cn, Self::Ca, Self::Sa];

    /// The name as typed on the command line: `us`, `eu`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::In => "in",
            Self::Au => "au",
            Self::Jp => "jp",
            Self::Cn => "cn",
            Self::Ca => "ca",
            Self::Sa => "sa",
        }
    }

    /// The hosts of the `dc` classes in Zoho's official SDKs, version 8.0. Note that the upload host of Canada and of
    /// Saudi Arabia cannot be derived from the others.
    fn hosts(self) -> Hosts {
        let (accounts, api, upload) = match self {
            Self::Us => ("accounts.zoho.com", "www.zohoapis.com", "content.zohoapis.com"),
            Self::Eu => ("accounts.zoho.eu", "www.zohoapis.eu", "content.zohoapis.eu"),
            Self::In => ("accounts.zoho.in", "www.zohoapis.in", "content.zohoapis.in"),
            Self::Au => ("accounts.zoho.com.au", "www.zohoapis.com.au", "content.zohoapis.com.au"),
            Self::Jp => ("accounts.zoho.jp", "www.zohoapis.jp", "content.zohoapis.jp"),
            Self::Cn => ("accounts.zoho.com.cn", "www.zohoapis.com.cn", "content.zohoapis.com.cn"),
            Self::Ca => ("accounts.zohocloud.ca", "www.zohoapis.ca", "upload.zohocloud.ca"),
            Self::Sa => ("accounts.zoho.sa", "www.zohoapis.sa", "files.zoho.sa"),
        };
        Hosts { accounts, api, upload }
    }
}

/// Knows the names of [`DataCentre::as_str`], in any case.
impl FromStr for DataCentre {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|data_centre| data_centre.as_str().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// Where requests go. Every URL is https, or http to loopback, and holds no credentials.
///
/// ```
/// use upload::{DataCentre, ErrorKind, Target};
///
/// let target = Target::of(DataCentre::Sa, "v2", "808232144")?;
/// assert_eq!(target.upload_url.as_str(), "https://files.zoho.sa/crm/v2/upload");
/// let error = target.with_upload_url("http://files.zoho.sa/crm/v2/upload").unwrap_err();
/// assert_eq!(error.kind, ErrorKind::Config);
/// # Ok::<(), upload::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The whole URL of the upload endpoint.
    pub upload_url: Url,
    /// The accounts host's base; `/oauth/v2/token` is appended.
    pub accounts_url: Url,
    /// The API host's base; `/crm/{version}/org` is appended.
    pub api_url: Url,
    /// The org's `zgid`, sent as `X-CRM-ORG`.
    pub org: String,
    /// The version in API paths, e.g. `v2`.
    pub api_version: String,
}

impl Target {
    /// The data centre's hosts with `api_version` in the path. An empty org is one that is not known yet: it is enough
    /// to ask for it ([`Client::check_auth`](crate::Client::check_auth)), not to upload.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): a version that is not `v` and a number, or an org that cannot
    /// be a header's value.
    pub fn of(data_centre: DataCentre, api_version: &str, org: &str) -> Result<Target, Error> {
        let number = api_version.strip_prefix('v').unwrap_or_default();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !number.split('.').all(digits) {
            return Err(Error::config(format!("api version `{}` is not valid", api_version.escape_debug()))
                .with_hint("versions look like `v2` or `v2.1`"));
        }
        check_org(org)?;
        let hosts = data_centre.hosts();
        Ok(Target {
            upload_url: checked("upload URL", &format!("https://{}/crm/{api_version}/upload", hosts.upload))?,
            accounts_url: checked("accounts URL", &format!("https://{}", hosts.accounts))?,
            api_url: checked("API URL", &format!("https://{}", hosts.api))?,
            org: org.to_owned(),
            api_version: api_version.to_owned(),
        })
    }

    /// With another upload endpoint: its whole URL.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): no URL, http to a host that is not loopback, or a user name in it.
    pub fn with_upload_url(mut self, url: &str) -> Result<Target, Error> {
        self.upload_url = checked("upload URL", url)?;
        Ok(self)
    }

    /// With another accounts host: the base of `/oauth/v2/token`.
    ///
    /// # Errors
    /// As [`with_upload_url`](Self::with_upload_url).
    pub fn with_accounts_url(mut self, url: &str) -> Result<Target, Error> {
        self.accounts_url = checked("accounts URL", url)?;
        Ok(self)
    }

    /// With another API host: the base of `/crm/{version}/org`.
    ///
    /// # Errors
    /// As [`with_upload_url`](Self::with_upload_url).
    pub fn with_api_url(mut self, url: &str) -> Result<Target, Error> {
        self.api_url = checked("API URL", url)?;
        Ok(self)
    }

    pub(crate) fn token_url(&self) -> Url {
        below(&self.accounts_url, "/oauth/v2/token")
    }

    pub(crate) fn org_url(&self) -> Url {
        below(&self.api_url, &format!("/crm/{}/org", self.api_version))
    }

    /// Fields are public, so what `of` has checked may have been replaced since.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_org(&self.org)?;
        check("upload URL", &self.upload_url)?;
        check("accounts URL", &self.accounts_url)?;
        check("API URL", &self.api_url)
    }
}

/// Whether a URL's host is this machine: `localhost`, `127.0.0.0/8` or `::1`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn check_org(org: &str) -> Result<(), Error> {
    if org.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::config(format!("org `{}` is not valid", org.escape_debug()))
        .with_hint("the org is the `zgid` that GET /crm/v8/org gives, digits only"))
}

fn checked(what: &str, text: &str) -> Result<Url, Error> {
    // A URL with a user name may hold a password: it is not repeated in an error.
    let url = Url::parse(text).map_err(|source| {
        Error::config(format!("{what} is no URL")).with_hint("it begins with https://").with_source(source)
    })?;
    check(what, &url)?;
    Ok(url)
}

fn check(what: &str, url: &Url) -> Result<(), Error> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(format!("{what} holds a user name or password"))
            .with_hint("credentials come from the environment or a file, never from a URL"));
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err(Error::config(format!("{what} `{url}` is plain http to a host that is not loopback"))
            .with_hint("use https: the request holds a token")),
        _ => Err(Error::config(format!("{what} `{url}` is not https"))),
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

struct Hosts {
    accounts: &'static str,
    api: &'static str,
    upload: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn us() -> Target {
        Target::of(DataCentre::Us, "v2", "808232144").unwrap()
    }

    #[test]
    fn every_data_centre_has_the_hosts_of_the_sdks() {
        let table: Vec<String> = DataCentre::ALL
            .into_iter()
            .map(|dc| {
                let target = Target::of(dc, "v2", "1").unwrap();
                format!("{} {} {} {}", dc.as_str(), target.upload_url, target.token_url(), target.org_url())
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        us https://content.zohoapis.com/crm/v2/upload https://accounts.zoho.com/oauth/v2/token https://www.zohoapis.com/crm/v2/org
        eu https://content.zohoapis.eu/crm/v2/upload https://accounts.zoho.eu/oauth/v2/token https://www.zohoapis.eu/crm/v2/org
        in https://content.zohoapis.in/crm/v2/upload https://accounts.zoho.in/oauth/v2/token https://www.zohoapis.in/crm/v2/org
        au https://content.zohoapis.com.au/crm/v2/upload https://accounts.zoho.com.au/oauth/v2/token https://www.zohoapis.com.au/crm/v2/org
        jp https://content.zohoapis.jp/crm/v2/upload https://accounts.zoho.jp/oauth/v2/token https://www.zohoapis.jp/crm/v2/org
        cn https://content.zohoapis.com.cn/crm/v2/upload https://accounts.zoho.com.cn/oauth/v2/token https://www.zohoapis.com.cn/crm/v2/org
        ca https://upload.zohocloud.ca/crm/v2/upload https://accounts.zohocloud.ca/oauth/v2/token https://www.zohoapis.ca/crm/v2/org
        sa https://files.zoho.sa/crm/v2/upload https://accounts.zoho.sa/oauth/v2/token https://www.zohoapis.sa/crm/v2/org
        ");
    }

    #[test]
    fn a_data_centre_is_parsed_from_its_own_name_in_any_case() {
        for dc in DataCentre::ALL {
            assert_eq!(dc.as_str().parse(), Ok(dc));
            assert_eq!(dc.as_str().to_uppercase().parse(), Ok(dc));
        }
        assert_eq!("uk".parse::<DataCentre>(), Err(()));
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in ["http://127.0.0.1:8080/x", "http://127.9.9.9/x", "http://[::1]:1/x", "http://localhost/x"]
        {
            assert!(us().with_upload_url(url).is_ok(), "{url}");
        }
        for url in [
            "http://content.zohoapis.com/crm/v2/upload",
            "http://localhost.evil.example/x",
            "http://10.0.0.1/x",
            "http://0.0.0.0/x",
            "ftp://127.0.0.1/x",
            "file:///etc/passwd",
            "content.zohoapis.com",
            "https://me:hunter2@content.zohoapis.com/",
        ] {
            let error = us().with_upload_url(url).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_org_that_could_break_out_of_its_header_is_refused() {
        for org in ["1 2", "1\r\nX-Evil: 1", "1\u{e9}"] {
            assert_eq!(Target::of(DataCentre::Us, "v2", org).unwrap_err().kind, ErrorKind::Config);
        }
    }

    #[test]
    fn a_version_is_v_and_a_number() {
        for version in ["v2", "v2.1", "v8"] {
            assert!(Target::of(DataCentre::Us, version, "1").is_ok());
        }
        for version in ["", "2", "v", "v2/../..", "v2.", "vx"] {
            assert!(Target::of(DataCentre::Us, version, "1").is_err(), "{version}");
        }
    }

    #[test]
    fn a_base_keeps_its_own_path() {
        let target = us().with_accounts_url("http://127.0.0.1:1/accounts/").unwrap();
        assert_eq!(target.token_url().as_str(), "http://127.0.0.1:1/accounts/oauth/v2/token");
    }
}

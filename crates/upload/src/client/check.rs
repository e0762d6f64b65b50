//! `auth check`: a token, and what `GET /crm/{version}/org` says with it. Nothing is sent to the upload endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};
use serde_json::Value;
use url::Url;

use super::Client;
use crate::api::{Code, Envelope};
use crate::multipart::Payload;
use crate::transport::{Exchange, Request};
use crate::{Error, ErrorKind};

/// The scope of the upload page.
const UPLOAD_SCOPE: &str = "ZohoFiles.files";
const REQUEST: Duration = Duration::from_mins(1);

/// What was found of token, scope and org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthReport {
    /// Where the token came from and how long it lives; never the token.
    pub token: String,
    /// The scopes as the token endpoint named them; `None` where it did not.
    pub scope: Option<String>,
    /// `zgid` from GET /org.
    pub org: Option<String>,
    /// `type` from GET /org: production, sandbox, developer or bigin.
    pub org_type: Option<String>,
    /// `license_details.paid_type` from GET /org.
    pub edition: Option<String>,
    /// What is missing, each with a hint; empty when all is well.
    pub missing: Vec<String>,
}

impl Client {
    /// Proves token, scope and org, and says what is missing.
    ///
    /// # Errors
    /// As [`upload`](Self::upload), where no token can be had or the API host cannot be reached at all.
    pub async fn check_auth(&self) -> Result<AuthReport, Error> {
        let mut token = self.tokens.token().await?;
        let mut answer = self.org(token.header()?).await?;
        let mut missing = Vec::new();
        if code_of(&answer) == Some(Code::InvalidToken) || (answer.0 == 401 && code_of(&answer).is_none()) {
            match self.tokens.renew(token.generation).await {
                Ok(renewed) => {
                    token = renewed;
                    answer = self.org(token.header()?).await?;
                }
                // Why it was not accepted is said below, from the answer.
                Err(stop) if stop.kind == ErrorKind::Auth => missing.push(format!("token: {}", stop.message)),
                Err(stop) => return Err(stop.into()),
            }
        }
        let mut report = AuthReport {
            token: match token.grant.lifetime {
                Some(lifetime) => format!("from {}, good for {} s", token.grant.source, lifetime.as_secs()),
                None => format!("from {}", token.grant.source),
            },
            scope: token.grant.scope.as_deref().map(|scope| self.redactor.line(scope)),
            org: None,
            org_type: None,
            edition: None,
            missing,
        };
        Self::check_scope(&mut report);
        self.check_data_centre(&mut report, token.grant.api_domain.as_deref());
        self.check_org(&mut report, &answer);
        Ok(report)
    }

    async fn org(&self, authorization: http::HeaderValue) -> Result<(u16, Vec<u8>), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization);
        let request = Request {
            method: Method::GET,
            url: self.target.org_url(),
            headers,
            payload: Payload::default(),
            guard: REQUEST,
        };
        let Exchange { outcome, .. } = self.transport.send(request, Arc::new(())).await;
        match outcome {
            Ok(answer) => Ok((answer.status, answer.body.to_vec())),
            Err(failure) => {
                let error = Error::new(
                    ErrorKind::Stopped { retry_after: None },
                    format!("cannot ask `{}`: {}", self.target.org_url(), failure.kind),
                )
                .with_hint("check the network, the proxy and --dc");
                Err(Error { source: failure.source, ..error })
            }
        }
    }

    fn check_scope(report: &mut AuthReport) {
        if let Some(scope) = &report.scope
            && !scope.contains(UPLOAD_SCOPE)
        {
            report.missing.push(format!(
                "scope: ZohoFiles.files.ALL is not among `{scope}`; {}",
                Code::OauthScopeMismatch.hint()
            ));
        }
    }

    fn check_data_centre(&self, report: &mut AuthReport, api_domain: Option<&str>) {
        let Some(api_domain) = api_domain else { return };
        // An api_domain that is no URL names no data centre.
        let Some(host) = Url::parse(api_domain).ok().and_then(|url| url.host_str().map(str::to_owned)) else {
            return;
        };
        let expected = self.target.api_url.host_str().unwrap_or_default();
        let end = |host: &str| host.split_once("zoho").map(|(_, end)| end.to_owned());
        if let (Some(found), Some(wanted)) = (end(&host), end(expected))
            && found != wanted
        {
            report.missing.push(format!(
                "data centre: the token is for `{host}`, the target is `{expected}`; check --dc"
            ));
        }
    }

    fn check_org(&self, report: &mut AuthReport, (status, body): &(u16, Vec<u8>)) {
        // A body that is no JSON is shown as it came.
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let org = json.as_ref().and_then(|json| json.get("org")?.get(0));
        let Some(org) = org else {
            let code = code_of(&(*status, body.clone()));
            let hint = match code {
                Some(Code::OauthScopeMismatch) => {
                    "the org can be read with the scope ZohoCRM.org.READ; uploading does not need it"
                }
                Some(code) => code.hint(),
                None => "check --dc and the credentials",
            };
            report.missing.push(format!(
                "org: GET {} answered {status}: {}; {hint}",
                self.target.org_url(),
                self.redactor.excerpt(body)
            ));
            return;
        };
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => Some(self.redactor.line(text)),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        report.org = text(org.get("zgid"));
        report.org_type = text(org.get("type"));
        report.edition = text(org.get("license_details").and_then(|license| license.get("paid_type")));
        match &report.org {
            None => report.missing.push("org: the answer holds no zgid".to_owned()),
            // Without one the question is just what it is.
            Some(_) if self.target.org.is_empty() => {}
            Some(zgid) if *zgid != self.target.org => report.missing.push(format!(
                "org: the token is for `{zgid}`, the target is `{}`; check --org: it takes the zgid",
                self.target.org
            )),
            Some(_) => {}
        }
    }
}

fn code_of((_, body): &(u16, Vec<u8>)) -> Option<Code> {
    Envelope::read(body).and_then(|envelope| envelope.known_code())
}

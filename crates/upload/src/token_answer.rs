//! What the token endpoint says. Its errors often come under HTTP 200, so a success is what holds an `access_token`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;

use crate::classify::retry_after;

/// Zoho's `access-refresh.html`: an access token lives one hour. Used where the answer does not say.
const LIFETIME: Duration = Duration::from_hours(1);
/// Older servers give milliseconds in `expires_in`; no token lives a day.
const SECONDS_AT_MOST: u64 = 86_400;
/// How long "Access Denied" lasts: the limit is counted over ten minutes.
pub(crate) const DENIED: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(crate) enum TokenAnswer {
    Granted(Grant),
    /// Too many tokens were asked for.
    Denied {
        wait: Duration,
    },
    /// The same request can come to nothing else.
    Refused {
        error: String,
        hint: &'static str,
    },
    /// The endpoint is in trouble.
    Retry {
        why: String,
        wait: Option<Duration>,
    },
}

#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) access_token: SecretString,
    pub(crate) lifetime: Duration,
    /// Base of the API host the token is for: it tells the data centre.
    pub(crate) api_domain: Option<String>,
    pub(crate) scope: Option<String>,
}

/// Reads the answer to a refresh.
pub(crate) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> TokenAnswer {
    let wait = retry_after(headers, now);
    // A body that is no JSON is told by the status; what is wrong with it does not matter.
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| json.as_ref().and_then(|json| json.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let whole = |name: &str| {
        field(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()))
    };
    if let Some(token) = text("access_token").filter(|_| (200..300).contains(&status)) {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return TokenAnswer::Refused {
                error: "the access token is no header value".to_owned(),
                hint: "check --accounts-url: this is not how Zoho's tokens look",
            };
        }
        let lifetime = match (whole("expires_in_sec"), whole("expires_in")) {
            (None, Some(millis)) if millis > SECONDS_AT_MOST => Duration::from_millis(millis),
            (Some(seconds), _) | (None, Some(seconds)) => Duration::from_secs(seconds),
            (None, None) => LIFETIME,
        };
        return TokenAnswer::Granted(Grant {
            access_token: SecretString::from(token),
            lifetime,
            api_domain: text("api_domain"),
            scope: text("scope"),
        });
    }
    let error = text("error").or_else(|| text("code")).unwrap_or_default();
    let kind = error.to_ascii_lowercase().replace(['_', '-'], " ");
    match (status, kind.as_str()) {
        (_, "access denied") => TokenAnswer::Denied { wait: wait.unwrap_or_default().max(DENIED) },
        (429, _) => TokenAnswer::Denied { wait: wait.unwrap_or(DENIED) },
        (408 | 425 | 500..=599, _)
        | (_, "server error" | "temporarily unavailable" | "internal server error" | "general error") => {
            TokenAnswer::Retry { why: format!("the token endpoint answered {status}"), wait }
        }
        (_, "") if (200..300).contains(&status) => {
            TokenAnswer::Retry { why: format!("the token endpoint answered {status} without a token"), wait }
        }
        (300..=399, _) => TokenAnswer::Refused {
            error: format!("redirect {status}"),
            hint: "redirects are never followed: check --accounts-url and --dc",
        },
        (_, "") => {
            TokenAnswer::Refused { error: format!("status {status}"), hint: "check --accounts-url and --dc" }
        }
        (_, "invalid client") => TokenAnswer::Refused {
            error,
            hint: "the client id is not known there: check ZOHO_CLIENT_ID, and that --dc is the client's data centre",
        },
        (_, "invalid client secret") => {
            TokenAnswer::Refused { error, hint: "the client secret is wrong: check ZOHO_CLIENT_SECRET" }
        }
        (_, "invalid code" | "invalid grant") => TokenAnswer::Refused {
            error,
            hint: "the refresh token is revoked, or of another data centre or client: check ZOHO_REFRESH_TOKEN and --dc",
        },
        _ => TokenAnswer::Refused { error, hint: "check the credentials and --dc" },
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read(status: u16, body: &str) -> TokenAnswer {
        super::read(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    fn lifetime(fields: &str) -> u64 {
        match read(200, &format!(r#"{{"access_token":"t"{fields}}}"#)) {
            TokenAnswer::Granted(grant) => grant.lifetime.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_lifetime_comes_in_seconds_in_milliseconds_or_not_at_all() {
        assert_eq!(lifetime(r#","expires_in":3600"#), 3600);
        assert_eq!(lifetime(r#","expires_in":"1800""#), 1800);
        assert_eq!(lifetime(r#","expires_in":3600000,"expires_in_sec":3599"#), 3599);
        assert_eq!(lifetime(r#","expires_in":3600000"#), 3600);
        assert_eq!(lifetime(&format!(r#","expires_in":{SECONDS_AT_MOST}"#)), SECONDS_AT_MOST);
        assert_eq!(lifetime(""), 3600);
        assert_eq!(lifetime(r#","expires_in":"soon""#), 3600);
    }

    #[test]
    fn a_grant_carries_its_api_domain_and_scope() {
        let body = r#"{"access_token":"1000.a","scope":"ZohoFiles.files.ALL","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#;
        let TokenAnswer::Granted(grant) = read(200, body) else { panic!() };
        assert_eq!(grant.access_token.expose_secret(), "1000.a");
        assert_eq!(grant.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
        assert_eq!(grant.scope.as_deref(), Some("ZohoFiles.files.ALL"));
    }

    #[test]
    fn every_error_is_told_apart_whatever_its_status() {
        let table: Vec<String> = [
            (200, r#"{"error":"invalid_client"}"#),
            (400, r#"{"error":"invalid_client_secret"}"#),
            (200, r#"{"error":"invalid_code"}"#),
            (200, r#"{"error":"something_new"}"#),
            (200, r#"{"error_description":"You have made too many requests continuously. Please try again after some time.","error":"Access Denied","status":"failure"}"#),
            (400, r#"{"error":"Access Denied"}"#),
            (429, ""),
            (200, "<html>busy</html>"),
            (200, r#"{"access_token":""#),
            (200, "{}"),
            (200, r#"{"access_token":""}"#),
            (200, r#"{"access_token":"a\r\nX-Evil: 1"}"#),
            (500, r#"{"access_token":"t"}"#),
            (503, ""),
            (302, ""),
            (404, "<html>"),
        ]
        .into_iter()
        .map(|(status, body)| format!("{status} {body} -> {:?}", read(status, body)))
        .collect();
        insta::assert_snapshot!(table.join("\n"), @r##"
        200 {"error":"invalid_client"} -> Refused { error: "invalid_client", hint: "the client id is not known there: check ZOHO_CLIENT_ID, and that --dc is the client's data centre" }
        400 {"error":"invalid_client_secret"} -> Refused { error: "invalid_client_secret", hint: "the client secret is wrong: check ZOHO_CLIENT_SECRET" }
        200 {"error":"invalid_code"} -> Refused { error: "invalid_code", hint: "the refresh token is revoked, or of another data centre or client: check ZOHO_REFRESH_TOKEN and --dc" }
        200 {"error":"something_new"} -> Refused { error: "something_new", hint: "check the credentials and --dc" }
        200 {"error_description":"You have made too many requests continuously. Please try again after some time.","error":"Access Denied","status":"failure"} -> Denied { wait: 600s }
        400 {"error":"Access Denied"} -> Denied { wait: 600s }
        429  -> Denied { wait: 600s }
        200 <html>busy</html> -> Retry { why: "the token endpoint answered 200 without a token", wait: None }
        200 {"access_token":" -> Retry { why: "the token endpoint answered 200 without a token", wait: None }
        200 {} -> Retry { why: "the token endpoint answered 200 without a token", wait: None }
        200 {"access_token":""} -> Refused { error: "the access token is no header value", hint: "check --accounts-url: this is not how Zoho's tokens look" }
        200 {"access_token":"a\r\nX-Evil: 1"} -> Refused { error: "the access token is no header value", hint: "check --accounts-url: this is not how Zoho's tokens look" }
        500 {"access_token":"t"} -> Retry { why: "the token endpoint answered 500", wait: None }
        503  -> Retry { why: "the token endpoint answered 503", wait: None }
        302  -> Refused { error: "redirect 302", hint: "redirects are never followed: check --accounts-url and --dc" }
        404 <html> -> Refused { error: "status 404", hint: "check --accounts-url and --dc" }
        "##);
    }
}

//! What each endpoint checks and answers when nothing is made to go wrong.
//!
//! Order of an upload's checks: URL, method, credentials, scope, headers, form, size, archive. Zoho does not
//! publish its own order; where a request breaks several rules, another of its errors may come first there.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::sandbox::answers::{self, Answer};
use crate::sandbox::log::Entry;
use crate::sandbox::multipart;
use crate::sandbox::plan::Endpoint;
use crate::sandbox::server::State;
use crate::sandbox::tokens::TokenRequest;
use crate::sandbox::zip_check;

/// The most that an archive may have: "25 MB" in its larger reading, inclusive. Zoho does not state the unit.
const MAX_ARCHIVE_BYTES: usize = 25 << 20;
/// The most of a body that is kept in memory: an archive at its limit and room for the form around one over it.
pub(super) const MAX_BODY_BYTES: usize = 32 << 20;

/// A request's body after it was read to its end.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    /// There was more than [`MAX_BODY_BYTES`]; `bytes` are only the first of it.
    pub(super) too_long: bool,
}

/// The endpoint that a path names, and the API version in it.
pub(super) fn route(path: &str) -> (Endpoint, &str) {
    if path == "/oauth/v2/token" {
        return (Endpoint::Token, "");
    }
    let Some((version, resource)) = path.strip_prefix("/crm/").and_then(|rest| rest.split_once('/')) else {
        return (Endpoint::Other, "");
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = version.strip_prefix('v').is_some_and(|number| {
        digits(number) || number.split_once('.').is_some_and(|(a, b)| digits(a) && digits(b))
    });
    match resource {
        "upload" if is_version => (Endpoint::Upload, version),
        "org" if is_version => (Endpoint::Org, version),
        _ => (Endpoint::Other, ""),
    }
}

/// The endpoint's own answer to a request.
pub(super) async fn answer(state: &Arc<State>, head: &Parts, body: Collected, entry: &Arc<Entry>) -> Answer {
    let (endpoint, version) = route(head.uri.path());
    let method = match endpoint {
        Endpoint::Upload | Endpoint::Token => Method::POST,
        Endpoint::Org => Method::GET,
        Endpoint::Other => return answers::documented("INVALID_URL_PATTERN"),
    };
    if head.method != method {
        return answers::documented("INVALID_REQUEST_METHOD");
    }
    let result = match endpoint {
        Endpoint::Token => Ok(token(state, head, &body)),
        Endpoint::Org => authorized(state, &head.headers, "ZohoCRM.org.READ").map(|()| org(state)),
        _ => upload(state, head, version, body, entry).await,
    };
    result.unwrap_or_else(|refusal| refusal)
}

fn token(state: &State, head: &Parts, body: &Collected) -> Answer {
    let request = TokenRequest::parse(head.uri.query(), &body.bytes);
    state.tokens().refresh(&state.account, &request, &state.base_url, Instant::now())
}

fn org(state: &State) -> Answer {
    let account = &state.account;
    Answer::json(
        StatusCode::OK,
        &json!({ "org": [{
            "id": account.org_id,
            "zgid": account.zgid,
            "company_name": "Sandbox",
            "domain_name": format!("org{}", account.zgid),
            "type": "sandbox",
            "time_zone": "UTC",
            "license_details": { "paid": true, "paid_type": state.plan.limits.edition().as_str() },
        }] }),
    )
}

async fn upload(
    state: &Arc<State>,
    head: &Parts,
    version: &str,
    body: Collected,
    entry: &Arc<Entry>,
) -> Result<Answer, Answer> {
    authorized(state, &head.headers, "ZohoFiles.files.ALL")?;
    match header(&head.headers, "feature") {
        None => return Err(answers::mandatory_not_found("feature", &json!({}))),
        Some("bulk-write") => {}
        Some(_) => return Err(answers::documented("NOT_SUPPORTED_FEATURE")),
    }
    match header(&head.headers, "x-crm-org") {
        None => return Err(answers::mandatory_not_found("x-crm-org", &json!({}))),
        Some(org) if org == state.account.zgid => {}
        Some(_) => return Err(answers::wrong_org()),
    }
    if !head.headers.contains_key(CONTENT_LENGTH) {
        // Zoho's SDKs and samples all send one; whether it takes chunked transfer is not said.
        let reason = "a Content-Length header is required";
        return Err(answers::stricter("INVALID_DATA", "invalid request", "content_length", reason));
    }
    if body.too_long {
        return Err(answers::file_too_large(version));
    }

    let form_fault = |reason: String| {
        let details = json!({ "check": "form", "reason": reason, "stricter_than_zoho": true });
        answers::mandatory_not_found("file", &details)
    };
    let part = multipart::only_part(header(&head.headers, CONTENT_TYPE.as_str()), &body.bytes)
        .map_err(|error| form_fault(error.to_string()))?;
    entry.part(&part);
    if part.name != "file" {
        return Err(form_fault(format!("the part is named `{}`, not `file`", part.name)));
    }
    let file_name = part.file_name.ok_or_else(|| form_fault("the part has no filename".into()))?;
    if part.content.len() > MAX_ARCHIVE_BYTES {
        return Err(answers::file_too_large(version));
    }
    if file_name.len() <= 4 || !file_name.to_ascii_lowercase().ends_with(".zip") {
        let reason = format!("the filename `{file_name}` does not end in .zip");
        let message = "invalid file format. only zip format is supported";
        return Err(answers::stricter("INVALID_FILE_FORMAT", message, "file_name", &reason));
    }

    let archive = body.bytes.slice(part.content);
    let (state, entry) = (state.clone(), entry.clone());
    let kept = tokio::task::spawn_blocking(move || {
        zip_check::check_archive(&archive, state.plan.checks.content).map_err(|flaw| flaw.answer())?;
        let id = state.store.keep(&archive).map_err(|error| internal_error(&error.to_string()))?;
        // Here and not after the `await`: the archive is kept also where the client has hung up meanwhile.
        entry.kept(&id);
        Ok(id)
    });
    let id = kept.await.unwrap_or_else(|error| Err(internal_error(&error.to_string())))?;
    Ok(Answer::uploaded(&id, Timestamp::now()))
}

/// Checks the Authorization header, the token in it and the token's scope.
fn authorized(state: &State, headers: &HeaderMap, scope: &str) -> Result<(), Answer> {
    let token = header(headers, AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Zoho-oauthtoken "))
        .ok_or_else(|| answers::documented("AUTHENTICATION_FAILURE"))?;
    let tokens = state.tokens();
    if !tokens.is_active(token, Instant::now()) {
        return Err(answers::documented("INVALID_TOKEN"));
    }
    if tokens.has_scope(scope) { Ok(()) } else { Err(answers::documented("OAUTH_SCOPE_MISMATCH")) }
}

/// The sandbox's own failure, such as a full disk, in Zoho's words for one.
fn internal_error(reason: &str) -> Answer {
    tracing::error!(reason, "the sandbox could not keep an archive");
    let (status, message) = answers::known("INTERNAL_ERROR").expect("invariant: the code is in the table");
    Answer::error(status, "INTERNAL_ERROR", message, &json!({ "reason": reason }))
}

/// A header's only value; given twice it counts as absent, since nobody can say which one holds.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_version_has_the_endpoints_and_nothing_else_does() {
        for (path, endpoint, version) in [
            ("/crm/v2/upload", Endpoint::Upload, "v2"),
            ("/crm/v2.1/upload", Endpoint::Upload, "v2.1"),
            ("/crm/v8/org", Endpoint::Org, "v8"),
            ("/oauth/v2/token", Endpoint::Token, ""),
        ] {
            assert_eq!(route(path), (endpoint, version), "{path}");
        }
        for path in [
            "/",
            "/crm",
            "/crm/v2/upload/",
            "/crm/2/upload",
            "/crm/v/upload",
            "/crm/v2./upload",
            "/crm/v2/x/upload",
            "/upload",
            "/oauth/v3/token",
            "//crm/v2/upload",
        ] {
            assert_eq!(route(path).0, Endpoint::Other, "{path}");
        }
    }
}

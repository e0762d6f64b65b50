//! The accounts side: made-up credentials, access tokens with a life, and Zoho's limits on both.
//!
//! At most ten new access tokens per refresh token in ten minutes, at most fifteen active ones, an hour of life each
//! (Zoho's OAuth pages "token validity" and "access token expiry"). Time is passed in, so that tests need no waiting.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::sandbox::answers::Answer;

/// New access tokens per refresh token within [`WINDOW`].
pub(super) const TOKENS_PER_WINDOW: usize = 10;
/// How long an access token lives.
pub(super) const LIFETIME: Duration = Duration::from_hours(1);
const WINDOW: Duration = Duration::from_mins(10);
/// Active access tokens of one refresh token; one more ends the oldest.
const MAX_ACTIVE: usize = 15;

/// Who may call: one client, one refresh token, one organisation, all invented at the start of a sandbox.
pub(super) struct Account {
    pub(super) client_id: SecretString,
    pub(super) client_secret: SecretString,
    pub(super) refresh_token: SecretString,
    /// The organisation as `X-CRM-ORG` wants it. Above 2³¹, as real ones are, so that no client can keep it in 32 bits.
    pub(super) zgid: &'static str,
    /// The organisation's record id, which clients mistake for the former.
    pub(super) org_id: &'static str,
}

impl Account {
    /// Invents credentials in the form of Zoho's.
    pub(super) fn invent() -> Account {
        Account {
            client_id: format!("1000.{}", random_hex(16).to_uppercase()).into(),
            client_secret: random_hex(21).into(),
            refresh_token: random_token().into(),
            zgid: "60041234567",
            org_id: "6004123000000020005",
        }
    }
}

/// A token request's parameters, from the query and from the form body.
#[derive(Default)]
pub(super) struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

impl TokenRequest {
    /// Reads the parameters. Zoho's pages show them in the query, its SDKs send a form body; the body wins.
    pub(super) fn parse(query: Option<&str>, body: &[u8]) -> TokenRequest {
        let mut request = TokenRequest::default();
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .chain(url::form_urlencoded::parse(body));
        for (name, value) in pairs {
            let slot = match &*name {
                "grant_type" => &mut request.grant_type,
                "client_id" => &mut request.client_id,
                "client_secret" => &mut request.client_secret,
                "refresh_token" => &mut request.refresh_token,
                _ => continue,
            };
            *slot = Some(value.into_owned());
        }
        request
    }
}

/// All tokens of the account.
pub(super) struct Tokens {
    scope: String,
    lifetime: Duration,
    per_window: usize,
    /// Refreshes of the last ten minutes.
    issued: VecDeque<Instant>,
    active: VecDeque<(SecretString, Instant)>,
}

impl Tokens {
    pub(super) fn new(scope: &str, lifetime: Duration, per_window: usize) -> Tokens {
        Tokens {
            scope: scope.to_owned(),
            lifetime,
            per_window,
            issued: VecDeque::new(),
            active: VecDeque::new(),
        }
    }

    /// Answers a token request, as Zoho does: errors of the caller come as 200 with an `error`.
    pub(super) fn refresh(
        &mut self,
        account: &Account,
        request: &TokenRequest,
        api_domain: &str,
        now: Instant,
    ) -> Answer {
        let error = |error: &str| Answer::json(StatusCode::OK, &json!({ "error": error }));
        let is = |given: &Option<String>, secret: &SecretString| {
            given.as_deref().is_some_and(|given| given == secret.expose_secret())
        };
        if request.grant_type.as_deref() != Some("refresh_token") {
            // Zoho's pages name no answer for this; RFC 6749 section 5.2 has the word.
            return error("unsupported_grant_type");
        }
        if !is(&request.client_id, &account.client_id) {
            return error("invalid_client");
        }
        if !is(&request.client_secret, &account.client_secret) {
            return error("invalid_client_secret");
        }
        if !is(&request.refresh_token, &account.refresh_token) {
            return error("invalid_code");
        }
        self.issued.retain(|&at| now.duration_since(at) < WINDOW);
        if self.issued.len() >= self.per_window {
            return denied();
        }
        self.issued.push_back(now);
        let token = self.issue(now);
        Answer::json(
            StatusCode::OK,
            &json!({
                "access_token": token.expose_secret(),
                "scope": self.scope,
                "api_domain": api_domain,
                "token_type": "Bearer",
                "expires_in": self.lifetime.as_secs(),
            }),
        )
    }

    /// A new token outside the limit of refreshes.
    pub(super) fn issue(&mut self, now: Instant) -> SecretString {
        let token = SecretString::from(random_token());
        self.active.push_back((token.clone(), now + self.lifetime));
        while self.active.len() > MAX_ACTIVE {
            self.active.pop_front();
        }
        token
    }

    /// Whether that token may still be used.
    pub(super) fn is_active(&self, token: &str, now: Instant) -> bool {
        self.active.iter().any(|(active, until)| active.expose_secret() == token && now < *until)
    }

    /// Whether tokens here carry that scope, by name or by its group's `ALL`.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        let all = scope.rsplit_once('.').map(|(group, _)| format!("{group}.ALL"));
        self.scope.split([' ', ',']).any(|have| have == scope || Some(have) == all.as_deref())
    }

    /// Ends every token at once, as a revocation does.
    pub(super) fn expire_all(&mut self) {
        self.active.clear();
    }
}

/// The throttle's answer. 400 as seen in the wild; one of Zoho's posts says 200.
fn denied() -> Answer {
    let body: Value = json!({
        "error_description": "You have made too many requests continuously. Please try again after some time.",
        "error": "Access Denied",
        "status": "failure",
    });
    Answer::json(StatusCode::BAD_REQUEST, &body)
}

fn random_token() -> String {
    format!("1000.{}.{}", random_hex(16), random_hex(16))
}

fn random_hex(bytes: usize) -> String {
    let digits = b"0123456789abcdef";
    (0..2 * bytes).map(|_| char::from(digits[usize::from(rand::random::<u8>() % 16)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "ZohoFiles.files.ALL,ZohoCRM.org.READ";

    fn request(account: &Account) -> TokenRequest {
        TokenRequest {
            grant_type: Some("refresh_token".into()),
            client_id: Some(account.client_id.expose_secret().into()),
            client_secret: Some(account.client_secret.expose_secret().into()),
            refresh_token: Some(account.refresh_token.expose_secret().into()),
        }
    }

    fn body(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.body).unwrap()
    }

    #[test]
    fn the_eleventh_token_within_ten_minutes_is_denied() {
        let account = Account::invent();
        let mut tokens = Tokens::new(SCOPE, LIFETIME, TOKENS_PER_WINDOW);
        let start = Instant::now();
        for second in 0..10 {
            let answer =
                tokens.refresh(&account, &request(&account), "http://x", start + Duration::from_secs(second));
            assert_eq!(body(&answer)["expires_in"], 3600, "{second}");
        }
        let denied =
            tokens.refresh(&account, &request(&account), "http://x", start + Duration::from_secs(599));
        assert_eq!((denied.status.as_u16(), body(&denied)["error"].as_str()), (400, Some("Access Denied")));
        let later = tokens.refresh(&account, &request(&account), "http://x", start + Duration::from_mins(10));
        assert!(body(&later)["access_token"].is_string());
    }

    #[test]
    fn a_token_lives_an_hour_and_the_sixteenth_ends_the_oldest() {
        let mut tokens = Tokens::new(SCOPE, LIFETIME, 100);
        let start = Instant::now();
        let first = tokens.issue(start);
        assert!(tokens.is_active(first.expose_secret(), start + Duration::from_secs(3599)));
        assert!(!tokens.is_active(first.expose_secret(), start + Duration::from_hours(1)));
        for _ in 0..14 {
            tokens.issue(start);
        }
        assert!(tokens.is_active(first.expose_secret(), start));
        tokens.issue(start);
        assert!(!tokens.is_active(first.expose_secret(), start));
        let last = tokens.issue(start);
        tokens.expire_all();
        assert!(!tokens.is_active(last.expose_secret(), start));
    }

    #[test]
    fn wrong_credentials_are_named_in_a_200_and_cost_no_token() {
        let account = Account::invent();
        let mut tokens = Tokens::new(SCOPE, LIFETIME, 1);
        let now = Instant::now();
        let mut ask = |change: &dyn Fn(&mut TokenRequest)| {
            let mut request = request(&account);
            change(&mut request);
            let answer = tokens.refresh(&account, &request, "http://x", now);
            (answer.status.as_u16(), body(&answer)["error"].as_str().map(str::to_owned))
        };
        let said = |error: &str| (200, Some(error.to_owned()));
        assert_eq!(ask(&|request| request.grant_type = None), said("unsupported_grant_type"));
        assert_eq!(ask(&|request| request.client_id = Some("x".into())), said("invalid_client"));
        assert_eq!(ask(&|request| request.client_secret = None), said("invalid_client_secret"));
        assert_eq!(ask(&|request| request.refresh_token = Some(String::new())), said("invalid_code"));
        assert_eq!(ask(&|_| ()), (200, None));
    }

    #[test]
    fn a_scope_is_had_by_name_or_by_its_groups_all() {
        let tokens = Tokens::new(SCOPE, LIFETIME, 1);
        assert!(tokens.has_scope("ZohoFiles.files.ALL"));
        assert!(tokens.has_scope("ZohoFiles.files.CREATE"));
        assert!(tokens.has_scope("ZohoCRM.org.READ"));
        assert!(!tokens.has_scope("ZohoCRM.bulk.ALL"));
    }

    #[test]
    fn parameters_come_from_query_and_body_and_the_body_wins() {
        let request = TokenRequest::parse(Some("client_id=a&client_secret=b"), b"client_id=c%20d&x=y");
        assert_eq!(request.client_id.as_deref(), Some("c d"));
        assert_eq!(request.client_secret.as_deref(), Some("b"));
        assert!(request.refresh_token.is_none());
    }
}

use std::collections::VecDeque;

use bytes::Bytes;
use rand::SeedableRng as _;

use super::*;
use crate::FailureKind;
use crate::reporter::BoxFuture;
use crate::throttle::Pacing;
use crate::transport::{Answer, Failure, Observer};

/// Status and body, or what failed and how much was sent.
type Said = Result<(u16, String), (FailureKind, u64)>;

/// A token endpoint that gives one answer after the other, and remembers when it was asked for what.
#[derive(Default)]
struct Endpoint {
    answers: Mutex<VecDeque<Said>>,
    asked: Mutex<Vec<(Instant, String)>>,
}

impl Endpoint {
    fn says(self: &Arc<Self>, status: u16, body: &str) {
        self.answers.lock().unwrap().push_back(Ok((status, body.to_owned())));
    }

    fn fails(self: &Arc<Self>, kind: FailureKind, bytes_sent: u64) {
        self.answers.lock().unwrap().push_back(Err((kind, bytes_sent)));
    }

    fn times(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

impl Transport for Endpoint {
    fn send(&self, request: Request, _: Arc<dyn Observer>) -> BoxFuture<'_, Exchange> {
        let body = request.payload.segments.concat();
        self.asked.lock().unwrap().push((Instant::now(), String::from_utf8(body).unwrap()));
        let next = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let number = self.asked.lock().unwrap().len();
            let (outcome, bytes_sent) = match next {
                None => (Ok((200, format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#))), 100),
                Some(Ok(answer)) => (Ok(answer), 100),
                Some(Err((kind, bytes_sent))) => (Err(Failure { kind, source: None }), bytes_sent),
            };
            let outcome = outcome.map(|(status, body)| Answer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::from(body),
            });
            Exchange { outcome, bytes_sent }
        })
    }
}

fn refresh() -> Credentials {
    Credentials {
        refresh: Some(RefreshCredentials {
            client_id: "canary id&=".trim_matches(' ').replace(' ', "-").into(),
            client_secret: "canary-secret".into(),
            refresh_token: "canary-refresh\n".into(),
        }),
        ..Credentials::default()
    }
}

fn cache_with(endpoint: &Arc<Endpoint>, credentials: Credentials, max_wait: Duration) -> Arc<TokenCache> {
    cache_that_tells(endpoint, credentials, max_wait, Arc::new(()))
}

fn cache_that_tells(
    endpoint: &Arc<Endpoint>,
    credentials: Credentials,
    max_wait: Duration,
    reporter: Arc<dyn Reporter>,
) -> Arc<TokenCache> {
    let pacing = Pacing { concurrency: 4, spacing: Duration::ZERO, max_wait };
    let settings = Settings {
        credentials,
        token_url: "http://127.0.0.1:1/oauth/v2/token".parse().unwrap(),
        refresh_log: None,
        max_wait,
    };
    let shared = Shared {
        transport: Arc::clone(endpoint) as _,
        throttle: Throttle::new(pacing, Arc::new(())),
        redactor: Arc::new(Redactor::new()),
        reporter,
        rng: Arc::new(Mutex::new(StdRng::seed_from_u64(1))),
        wall: Wall::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)),
    };
    Arc::new(TokenCache::new(settings, shared).unwrap())
}

fn cache(endpoint: &Arc<Endpoint>) -> Arc<TokenCache> {
    cache_with(endpoint, refresh(), Duration::from_mins(30))
}

fn text(token: &AccessToken) -> String {
    token.header().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_secrets_stand_in_the_body_escaped_and_trimmed() {
    let endpoint = Arc::new(Endpoint::default());
    let token = cache(&endpoint).token().await.unwrap();
    assert_eq!(text(&token), "Zoho-oauthtoken token-1");
    assert_eq!(
        endpoint.asked.lock().unwrap()[0].1,
        "grant_type=refresh_token&client_id=canary-id%26%3D&client_secret=canary-secret&refresh_token=canary-refresh"
    );
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_one_refresh_runs() {
    let endpoint = Arc::new(Endpoint::default());
    let cache = cache(&endpoint);
    let first = cache.token().await.unwrap();
    let renewals: Vec<_> = (0..16)
        .map(|_| {
            let (cache, stale) = (Arc::clone(&cache), first.generation);
            tokio::spawn(async move { text(&cache.renew(stale).await.unwrap()) })
        })
        .collect();
    for renewal in renewals {
        assert_eq!(renewal.await.unwrap(), "Zoho-oauthtoken token-2");
    }
    assert_eq!(endpoint.times().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_given_up_is_taken_over_by_the_next() {
    let endpoint = Arc::new(Endpoint::default());
    let cache = cache(&endpoint);
    let given_up = tokio::time::timeout(Duration::from_millis(50), cache.token()).await;
    assert!(given_up.is_err());
    assert_eq!(text(&cache.token().await.unwrap()), "Zoho-oauthtoken token-2");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_five_minutes_before_its_end() {
    let endpoint = Arc::new(Endpoint::default());
    let cache = cache(&endpoint);
    let first = cache.token().await.unwrap();
    tokio::time::advance(Duration::from_secs(3600 - 302)).await;
    assert!(first.is_fresh());
    assert_eq!(cache.token().await.unwrap().generation, 1);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(!first.is_fresh());
    assert_eq!(cache.token().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_life_is_used_for_three_quarters() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"access_token":"t","expires_in":400}"#);
    let token = cache(&endpoint).token().await.unwrap();
    tokio::time::advance(Duration::from_secs(299)).await;
    assert!(token.is_fresh());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!token.is_fresh());
}

#[tokio::test(start_paused = true)]
async fn the_given_token_is_used_until_it_is_refused() {
    let endpoint = Arc::new(Endpoint::default());
    let credentials = Credentials { access_token: Some("given".into()), ..refresh() };
    let cache = cache_with(&endpoint, credentials, Duration::from_mins(30));
    let given = cache.token().await.unwrap();
    assert_eq!(
        (text(&given).as_str(), given.grant.source),
        ("Zoho-oauthtoken given", "the access token given")
    );
    assert!(endpoint.times().is_empty());
    assert_eq!(text(&cache.renew(given.generation).await.unwrap()), "Zoho-oauthtoken token-1");
}

#[tokio::test(start_paused = true)]
async fn a_given_token_alone_cannot_be_renewed() {
    let endpoint = Arc::new(Endpoint::default());
    let credentials = Credentials { access_token: Some("given".into()), ..Credentials::default() };
    let cache = cache_with(&endpoint, credentials, Duration::from_mins(30));
    let given = cache.token().await.unwrap();
    let stop = cache.renew(given.generation).await.unwrap_err();
    assert_eq!(stop.kind, ErrorKind::Auth);
    assert!(stop.hint.unwrap().contains("data centre"));
}

#[tokio::test(start_paused = true)]
async fn the_ninth_refresh_waits_for_the_first_to_be_ten_minutes_old() {
    let endpoint = Arc::new(Endpoint::default());
    let cache = cache(&endpoint);
    let mut generation = 0;
    for _ in 0..9 {
        generation = cache.renew(generation).await.unwrap().generation;
    }
    let times = endpoint.times();
    assert!(times[7] - times[0] < Duration::from_secs(1));
    assert!(times[8] - times[0] > Duration::from_mins(10));
    assert!(times[8] - times[0] < Duration::from_secs(603));
}

#[tokio::test(start_paused = true)]
async fn access_denied_is_waited_out_for_ten_minutes() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"error":"Access Denied","status":"failure"}"#);
    cache(&endpoint).token().await.unwrap();
    let times = endpoint.times();
    assert!(times[1] - times[0] >= Duration::from_mins(10));
}

/// Keeps what was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn notice(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_just_fits_is_taken_and_told_if_it_is_long() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.fails(FailureKind::Connect, 0);
    endpoint.says(200, r#"{"error":"Access Denied"}"#);
    let told = Arc::new(Told::default());
    let begun = Instant::now();
    let cache = cache_that_tells(&endpoint, refresh(), Duration::from_mins(11), Arc::clone(&told) as _);
    cache.token().await.unwrap();
    assert!(begun.elapsed() > Duration::from_mins(10));
    let told = told.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("waiting 600 s for a token: "), "{told:?}");

    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"error":"Access Denied"}"#);
    cache_with(&endpoint, refresh(), Duration::from_millis(600_100)).token().await.unwrap();
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"error":"Access Denied"}"#);
    cache_with(&endpoint, refresh(), Duration::from_millis(600_099)).token().await.unwrap_err();
}

#[tokio::test]
async fn a_command_gives_one_token_and_nothing_else() {
    let of = |line: &str| {
        let credentials = Credentials { token_command: Some(line.into()), ..Credentials::default() };
        cache_with(&Arc::new(Endpoint::default()), credentials, Duration::from_mins(30))
    };
    let token = of("echo 1000.abc").token().await.unwrap();
    assert_eq!(
        (text(&token).as_str(), token.grant.source),
        ("Zoho-oauthtoken 1000.abc", "the token command")
    );
    for line in ["echo two words", "printf 'a\\tb'", "true", "printf 'a\\nb'"] {
        let stop = of(line).token().await.unwrap_err();
        assert_eq!(stop.kind, ErrorKind::Auth, "{line}");
        assert!(stop.message.contains("what the token command gives is no token"), "{line}: {stop:?}");
    }
    let stop = of("echo 1000.abc; exit 3").token().await.unwrap_err();
    assert!(stop.kind == ErrorKind::Auth && !format!("{stop:?}").contains("1000.abc"), "{stop:?}");
}

#[tokio::test(start_paused = true)]
async fn access_denied_stops_a_run_that_may_not_wait_so_long() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(400, r#"{"error":"Access Denied"}"#);
    let cache = cache_with(&endpoint, refresh(), Duration::from_mins(5));
    let stop = cache.token().await.unwrap_err();
    assert_eq!(stop.kind, ErrorKind::Stopped { retry_after: Some(Duration::from_mins(10)) });
}

#[tokio::test(start_paused = true)]
async fn trouble_at_the_endpoint_is_met_with_patience() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, "<html>maintenance</html>");
    endpoint.says(503, "");
    endpoint.fails(FailureKind::Silent, 100);
    endpoint.fails(FailureKind::Connect, 0);
    assert_eq!(text(&cache(&endpoint).token().await.unwrap()), "Zoho-oauthtoken token-5");
}

#[tokio::test(start_paused = true)]
async fn requests_that_never_went_out_do_not_count_against_the_limit() {
    let endpoint = Arc::new(Endpoint::default());
    for _ in 0..20 {
        endpoint.fails(FailureKind::Connect, 0);
    }
    let begun = Instant::now();
    cache(&endpoint).token().await.unwrap();
    assert_eq!(endpoint.times().len(), 21);
    assert!(begun.elapsed() < Duration::from_mins(20));
    // Each rest may be longer than the one before, up to a minute.
    assert!(begun.elapsed() > Duration::from_mins(2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_for_everybody_and_tells_no_secret() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"error":"invalid_code","error_description":"canary-refresh of canary-secret"}"#);
    let cache = cache(&endpoint);
    let stop = cache.token().await.unwrap_err();
    assert_eq!((stop.kind.clone(), stop.code.as_deref()), (ErrorKind::Auth, Some("invalid_code")));
    assert!(!format!("{stop:?}").contains("canary"), "{stop:?}");
    assert_eq!(cache.token().await.unwrap_err(), stop);
    assert_eq!(cache.renew(0).await.unwrap_err(), stop);
    assert_eq!(endpoint.times().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_trusted_ends_the_run() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.fails(FailureKind::Certificate, 0);
    assert_eq!(cache(&endpoint).token().await.unwrap_err().kind, ErrorKind::RunRefused);
}

#[test]
fn debug_shows_no_secret() {
    let credentials = Credentials {
        access_token: Some("canary-token".into()),
        token_command: Some("canary".into()),
        ..refresh()
    };
    let text = format!("{credentials:?} {:?}", credentials.refresh);
    assert_eq!(text, "Credentials([redacted]) Some(RefreshCredentials([redacted]))");
}

#[tokio::test(start_paused = true)]
async fn requests_that_may_have_arrived_count_against_the_limit() {
    let endpoint = Arc::new(Endpoint::default());
    for _ in 0..8 {
        endpoint.fails(FailureKind::Lost, 100);
    }
    cache(&endpoint).token().await.unwrap();
    let times = endpoint.times();
    assert_eq!(times.len(), 9);
    assert!(times[8] - times[0] > Duration::from_mins(10));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_given_out_again_when_its_renewal_is_given_up() {
    let endpoint = Arc::new(Endpoint::default());
    let cache = cache(&endpoint);
    let refused = cache.token().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(10), cache.renew(refused.generation)).await.is_err());
    assert_eq!(cache.token().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_life_of_no_length_says_nothing_and_the_token_is_used_until_it_is_refused() {
    let endpoint = Arc::new(Endpoint::default());
    endpoint.says(200, r#"{"access_token":"t","expires_in":0}"#);
    let cache = cache(&endpoint);
    let token = cache.token().await.unwrap();
    tokio::time::advance(Duration::from_hours(2)).await;
    assert!(token.is_fresh());
    assert_eq!(cache.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn the_header_is_marked_as_a_secret() {
    let endpoint = Arc::new(Endpoint::default());
    let token = cache(&endpoint).token().await.unwrap();
    assert!(token.header().unwrap().is_sensitive());
    assert_eq!(format!("{token:?}"), "AccessToken([redacted])");
}

//! What goes over the wire, and what comes of simple answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use upload::{
    BoxFuture, Client, ClientConfig, Credentials, DataCentre, ErrorKind, RefreshCredentials, Refused, Target,
    Witness,
};

use crate::plain_server::{PlainServer, answer, grant, success};

const ARCHIVE: &[u8] = b"PK\x05\x06not quite a zip";

#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<String>>);

impl Witness for Seen {
    fn attempt<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>> {
        self.0.lock().unwrap().push(format!("{archive} {attempt}"));
        Box::pin(async { Ok(()) })
    }
    fn ambiguous<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>> {
        self.0.lock().unwrap().push(format!("{archive} {attempt} ambiguous"));
        Box::pin(async { Ok(()) })
    }
}

fn config(server: &PlainServer, credentials: Credentials) -> ClientConfig {
    config_for(&server.url, credentials)
}

pub(crate) fn config_for(url: &str, credentials: Credentials) -> ClientConfig {
    let target = Target::of(DataCentre::Us, "v2", "808232144")
        .and_then(|target| target.with_upload_url(&format!("{url}/crm/v2/upload")))
        .and_then(|target| target.with_accounts_url(url))
        .and_then(|target| target.with_api_url(url))
        .unwrap();
    ClientConfig {
        target,
        credentials,
        concurrency: 4,
        starts_per_second: 0.0,
        bwlimit: None,
        max_wait: Duration::from_mins(1),
        https_proxy: None,
        no_proxy: None,
        extra_ca_pem: Vec::new(),
        user_agent: "zbulk/0.0.0".to_owned(),
        refresh_log: None,
    }
}

fn given(token: &str) -> Credentials {
    Credentials { access_token: Some(token.into()), ..Credentials::default() }
}

fn refreshable() -> Credentials {
    Credentials {
        refresh: Some(RefreshCredentials {
            client_id: "canary-id".into(),
            client_secret: "canary-secret".into(),
            refresh_token: "canary-refresh".into(),
        }),
        ..Credentials::default()
    }
}

async fn upload(
    server: &PlainServer,
    credentials: Credentials,
    witness: &Seen,
) -> Result<upload::Uploaded, upload::Error> {
    let client = Client::new(config(server, credentials), Arc::new(())).unwrap();
    client.upload("Contacts-00001.zip", Bytes::from_static(ARCHIVE), witness).await
}

#[tokio::test]
async fn the_request_is_the_one_of_the_upload_page() {
    let server = PlainServer::start(vec![success("111111000001492610")]).await;
    let witness = Seen::default();
    let uploaded = upload(&server, given("1000.token"), &witness).await.unwrap();
    assert_eq!(uploaded.file_id.as_str(), "111111000001492610");
    assert_eq!(uploaded.created_time.as_deref(), Some("2018-12-31T12:00:00-12:00"));
    assert_eq!((uploaded.http_status, uploaded.code.as_str()), (200, "FILE_UPLOAD_SUCCESS"));
    assert_eq!((uploaded.attempts, uploaded.possible_orphans), (1, 0));
    let requests = server.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert!(request.head.starts_with("POST /crm/v2/upload HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("authorization"), Some("Zoho-oauthtoken 1000.token"));
    assert_eq!(request.header("feature"), Some("bulk-write"));
    assert_eq!(request.header("x-crm-org"), Some("808232144"));
    assert_eq!(request.header("user-agent"), Some("zbulk/0.0.0"));
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.header("accept-encoding"), None);
    let boundary =
        request.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Contacts-00001.zip\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(ARCHIVE);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(request.body, body);
    assert_eq!(*witness.0.lock().unwrap(), ["Contacts-00001.zip 1"]);
}

#[tokio::test]
async fn a_token_is_fetched_with_the_secrets_in_the_body_and_used() {
    let server = PlainServer::start(vec![grant("1000.fresh"), success("1")]).await;
    upload(&server, refreshable(), &Seen::default()).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].head.starts_with("POST /oauth/v2/token HTTP/1.1\r\n"));
    assert!(!requests[0].head.contains("canary"));
    assert_eq!(
        String::from_utf8(requests[0].body.clone()).unwrap(),
        "grant_type=refresh_token&client_id=canary-id&client_secret=canary-secret&refresh_token=canary-refresh"
    );
    assert_eq!(requests[1].header("authorization"), Some("Zoho-oauthtoken 1000.fresh"));
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_archive_sent_again() {
    let invalid = r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#;
    let server = PlainServer::start(vec![answer(401, "", invalid), grant("1000.fresh"), success("1")]).await;
    let credentials = Credentials { access_token: Some("1000.old".into()), ..refreshable() };
    let uploaded = upload(&server, credentials, &Seen::default()).await.unwrap();
    assert_eq!((uploaded.attempts, uploaded.possible_orphans), (2, 0));
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some("Zoho-oauthtoken 1000.old"));
    assert_eq!(requests[2].header("authorization"), Some("Zoho-oauthtoken 1000.fresh"));
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_ends_the_run_and_hints_at_the_data_centre() {
    let invalid = r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#;
    let answers = vec![grant("1000.a"), answer(401, "", invalid), grant("1000.b"), answer(401, "", invalid)];
    let server = PlainServer::start(answers).await;
    let error = upload(&server, refreshable(), &Seen::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert_eq!(error.code.as_deref(), Some("INVALID_TOKEN"));
    assert!(error.hint.unwrap().contains("data centre"));
}

#[tokio::test]
async fn a_lost_answer_is_recorded_and_the_archive_sent_again() {
    let server = PlainServer::start(vec![String::new(), success("1")]).await;
    let witness = Seen::default();
    let uploaded = upload(&server, given("t"), &witness).await.unwrap();
    assert_eq!((uploaded.attempts, uploaded.possible_orphans), (2, 1));
    assert_eq!(
        *witness.0.lock().unwrap(),
        ["Contacts-00001.zip 1", "Contacts-00001.zip 1 ambiguous", "Contacts-00001.zip 2"]
    );
}

#[tokio::test]
async fn a_refusal_of_the_archive_says_what_the_server_said() {
    let body =
        r#"{"code":"FILE_TOO_LARGE","details":{},"message":"too large for canary-token","status":"error"}"#;
    let server = PlainServer::start(vec![answer(413, "", body)]).await;
    let error = upload(&server, given("canary-token"), &Seen::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ChunkRefused);
    assert_eq!((error.http_status, error.code.as_deref()), (Some(413), Some("FILE_TOO_LARGE")));
    insta::assert_snapshot!(error, @r#"the server refuses the archive: 413, {"code":"FILE_TOO_LARGE","details":{},"message":"too large for [redacted]","status":"error"}"#);
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let server = PlainServer::start(vec![answer(307, "Location: http://127.0.0.1:1/\r\n", "")]).await;
    let error = upload(&server, given("t"), &Seen::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RunRefused);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_when_the_witness_refuses() {
    struct No;
    impl Witness for No {
        fn attempt<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(), Refused>> {
            Box::pin(async { Err(Refused) })
        }
        fn ambiguous<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(), Refused>> {
            Box::pin(async { Err(Refused) })
        }
    }
    let server = PlainServer::start(Vec::new()).await;
    let client = Client::new(config(&server, given("t")), Arc::new(())).unwrap();
    let error = client.upload("a.zip", Bytes::from_static(ARCHIVE), &No).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Witness);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_token_command_is_asked_and_asked_again_on_a_401() {
    let server = PlainServer::start(vec![answer(401, "", ""), success("1")]).await;
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count");
    let line = format!("echo x >> {0}; echo token-$(wc -l < {0} | tr -d ' ')", count.display());
    let credentials = Credentials { token_command: Some(line), ..Credentials::default() };
    upload(&server, credentials, &Seen::default()).await.unwrap();
    let tokens: Vec<_> =
        server.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(tokens, ["Zoho-oauthtoken token-1", "Zoho-oauthtoken token-2"]);
}

#[tokio::test]
async fn a_token_that_could_end_its_header_is_refused_before_anything_is_sent() {
    let server = PlainServer::start(Vec::new()).await;
    let error = Client::new(config(&server, given("a\r\nX-Evil: canary")), Arc::new(())).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Config);
    let credentials =
        Credentials { token_command: Some("printf 'a b'".to_owned()), ..Credentials::default() };
    let error = upload(&server, credentials, &Seen::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn auth_check_reads_the_org() {
    let org = r#"{"org":[{"zgid":"808232144","id":"5725767000000020005","type":"production","license_details":{"paid_type":"enterprise"}}]}"#;
    let server = PlainServer::start(vec![grant("1000.a"), answer(200, "", org)]).await;
    let client = Client::new(config(&server, refreshable()), Arc::new(())).unwrap();
    let report = client.check_auth().await.unwrap();
    assert_eq!(report.org.as_deref(), Some("808232144"));
    assert_eq!(report.org_type.as_deref(), Some("production"));
    assert_eq!(report.edition.as_deref(), Some("enterprise"));
    assert!(report.missing.is_empty(), "{report:?}");
    assert!(server.requests()[1].head.starts_with("GET /crm/v2/org HTTP/1.1\r\n"));
}

#[tokio::test]
async fn two_clients_in_one_process_are_fine() {
    let server = PlainServer::start(vec![success("1"), success("2")]).await;
    upload(&server, given("t"), &Seen::default()).await.unwrap();
    upload(&server, given("t"), &Seen::default()).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = PlainServer::start(vec![success("1"), success("2"), success("3")]).await;
    let client = Client::new(config(&server, given("t")), Arc::new(())).unwrap();
    for _ in 0..3 {
        client.upload("a.zip", Bytes::from_static(ARCHIVE), &Seen::default()).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn a_file_id_of_another_archive_is_not_believed() {
    let server = PlainServer::start(vec![success("1"), success("1"), success("2")]).await;
    let client = Client::new(config(&server, given("t")), Arc::new(())).unwrap();
    client.remember(upload::FileId::new("7"));
    let first = client.upload("a.zip", Bytes::from_static(ARCHIVE), &Seen::default()).await.unwrap();
    let second = client.upload("b.zip", Bytes::from_static(ARCHIVE), &Seen::default()).await.unwrap();
    assert_eq!((first.file_id.as_str(), second.file_id.as_str()), ("1", "2"));
    assert_eq!(second.possible_orphans, 1);
}

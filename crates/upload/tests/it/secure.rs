//! TLS and proxies: what is trusted, and what goes through whom.
//!
//! `tls/` holds a test authority's certificate, and a certificate of it for `localhost` with its key. They protect
//! nothing; the authority's own key was thrown away when they were made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use upload::{Client, ClientConfig, Credentials, ErrorKind};

use crate::plain_server::{PlainServer, Recorded, answer, serve, success};
use crate::requests::{Seen, config_for};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const SERVER: &[u8] = include_bytes!("tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("tls/server-key.pem");

/// Its URL, and what it was sent.
async fn secure_server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<Recorded>>>) {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(SERVER).unwrap()],
            PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kept);
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust this server ends the handshake.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, Arc::clone(&answers), Arc::clone(&seen)).await;
            }
        }
    });
    (url, kept)
}

fn config(url: &str) -> ClientConfig {
    config_for(url, Credentials { access_token: Some("t".into()), ..Credentials::default() })
}

async fn upload(config: ClientConfig) -> Result<upload::Uploaded, upload::Error> {
    let client = Client::new(config, Arc::new(()))?;
    client.upload("a.zip", Bytes::from_static(b"PK"), &Seen::default()).await
}

#[tokio::test]
async fn a_server_of_a_named_authority_is_trusted() {
    let (url, seen) = secure_server(vec![success("1")]).await;
    let uploaded = upload(ClientConfig { extra_ca_pem: vec![AUTHORITY.to_vec()], ..config(&url) }).await;
    assert_eq!(uploaded.unwrap().file_id.as_str(), "1");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_of_another_authority_is_never_sent_anything() {
    let (url, seen) = secure_server(Vec::new()).await;
    // A certificate that signs nothing here takes the place of the system's, which a machine may not have.
    let error =
        upload(ClientConfig { extra_ca_pem: vec![SERVER.to_vec()], ..config(&url) }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RunRefused);
    assert!(error.hint.unwrap().contains("certificate"));
    assert!(error.source.is_some());
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let (url, seen) = secure_server(Vec::new()).await;
    let url = url.replace("localhost", "127.0.0.1");
    let config = ClientConfig { extra_ca_pem: vec![AUTHORITY.to_vec()], ..config(&url) };
    let error = upload(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RunRefused);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn authorities_that_are_no_certificates_are_refused() {
    for pem in [&b"hello"[..], b"", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        let config = ClientConfig { extra_ca_pem: vec![pem.to_vec()], ..config("https://localhost:1") };
        assert_eq!(Client::new(config, Arc::new(())).err().unwrap().kind, ErrorKind::Config);
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_is_elsewhere_and_its_refusal_ends_the_run() {
    let proxy = PlainServer::start(vec![answer(407, "", "")]).await;
    let config = ClientConfig {
        extra_ca_pem: vec![AUTHORITY.to_vec()],
        https_proxy: Some(proxy.url.clone()),
        ..config("https://upload.example.invalid")
    };
    let error = upload(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RunRefused);
    assert!(error.hint.unwrap().contains("proxy"));
    assert!(proxy.requests()[0].head.starts_with("CONNECT upload.example.invalid:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_proxy_is_never_used_for_loopback_nor_for_what_is_excepted() {
    let proxy = PlainServer::start(Vec::new()).await;
    let (url, _) = secure_server(vec![success("1"), success("2")]).await;
    let config = ClientConfig {
        extra_ca_pem: vec![AUTHORITY.to_vec()],
        https_proxy: Some(proxy.url.clone()),
        ..config(&url)
    };
    upload(config.clone()).await.unwrap();
    let plain = PlainServer::start(vec![success("3")]).await;
    upload(ClientConfig { target: self::config(&plain.url).target, ..config.clone() }).await.unwrap();
    let excepted = ClientConfig {
        target: self::config("https://upload.example.invalid").target,
        no_proxy: Some(".example.invalid".to_owned()),
        max_wait: Duration::from_secs(1),
        ..config
    };
    let error = upload(excepted).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Stopped { .. }), "{error:?}");
    assert!(proxy.requests().is_empty());
}

#[test]
fn a_proxy_that_is_no_url_is_refused_without_repeating_it() {
    let config = ClientConfig {
        https_proxy: Some("http://me:canary@[".to_owned()),
        extra_ca_pem: vec![AUTHORITY.to_vec()],
        ..config("https://upload.example.invalid")
    };
    let error = Client::new(config, Arc::new(())).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(!format!("{error:?}").contains("canary"));
}

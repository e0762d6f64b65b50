//! zbulk's upload request beside those of Zoho's own Python SDKs, recorded in `testdata/sdk-requests`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use upload::{Client, Credentials, DataCentre, Target};

use crate::plain_server::{PlainServer, success};
use crate::requests::{Seen, config_for};

/// A request taken apart: each header once, and its single part.
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    part_headers: BTreeMap<String, String>,
    content: Vec<u8>,
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = bytes.windows(at.len()).position(|window| window == at).unwrap();
    (&bytes[..place], &bytes[place + at.len()..])
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(found.insert(name.to_lowercase(), value.to_owned()).is_none(), "`{name}` twice");
    }
    found
}

fn request(bytes: &[u8]) -> Request {
    let (head, body) = split(bytes, b"\r\n\r\n");
    let mut lines = std::str::from_utf8(head).unwrap().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers_found = headers(lines);
    assert_eq!(headers_found["content-length"], body.len().to_string());
    let boundary = headers_found["content-type"].strip_prefix("multipart/form-data; boundary=").unwrap();
    let rest = body.strip_prefix(format!("--{boundary}\r\n").as_bytes()).unwrap();
    let rest = rest.strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes()).unwrap();
    let (part_head, content) = split(rest, b"\r\n\r\n");
    let part_headers = headers(std::str::from_utf8(part_head).unwrap().split("\r\n"));
    Request { line, headers: headers_found, part_headers, content: content.to_vec() }
}

async fn compare(version: &str, recording: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sdk-requests").join(recording);
    let sdk = request(&std::fs::read(path).unwrap());

    let server = PlainServer::start(vec![success("1")]).await;
    let credentials = Credentials { access_token: Some("1000.token".into()), ..Credentials::default() };
    let mut config = config_for(&server.url, credentials);
    // The path is the one that zbulk itself makes for this version; only the host is the test's.
    let made = Target::of(DataCentre::Us, version, "808232144").unwrap();
    let url = format!("{}{}", server.url, made.upload_url.path());
    config.target = made.with_upload_url(&url).unwrap();
    let client = Client::new(config, Arc::new(())).unwrap();
    client.upload("Leads.zip", Bytes::from(sdk.content.clone()), &Seen::default()).await.unwrap();
    let sent = server.requests().remove(0);
    let ours = request(&[sent.head.as_bytes(), &sent.body[..]].concat());

    assert_eq!(ours.line, sdk.line);
    for name in ["authorization", "feature", "x-crm-org"] {
        assert_eq!(ours.headers[name], sdk.headers[name], "{name}");
    }
    let name = &ours.part_headers["content-disposition"];
    assert_eq!(*name, sdk.part_headers["content-disposition"]);
    assert_eq!(name, "form-data; name=\"file\"; filename=\"Leads.zip\"");
    assert_eq!(ours.content, sdk.content);

    // Deliberate: Zoho's .NET sample and OpenAPI file name the part's type; the Python SDKs leave it out.
    assert_eq!(sdk.part_headers.get("content-type"), None);
    assert_eq!(ours.part_headers["content-type"], "application/octet-stream");
    // Deliberate: the SDK's own name is not zbulk's to bear.
    assert!(sdk.headers.contains_key("x-zoho-sdk"));
    assert_eq!(ours.headers.get("x-zoho-sdk"), None);
    // Deliberate: an answer of a few hundred bytes needs no decompressor.
    assert!(sdk.headers.contains_key("accept-encoding"));
    assert_eq!(ours.headers.get("accept-encoding"), None);
}

#[tokio::test]
async fn the_request_is_that_of_the_sdk_for_v2_but_for_named_differences() {
    compare("v2", "python-2.0.http").await;
}

#[tokio::test]
async fn the_request_is_that_of_the_sdk_for_v8_but_for_named_differences() {
    compare("v8", "python-8.0.http").await;
}

//! The sandbox without faults: every check and every shape of answer, over TCP.

use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use upload::sandbox::{Endpoint, Sandbox};

use crate::sandbox_client::{Bench, Request, archive, archive_of_bytes, config, form, read_answer};

#[tokio::test]
async fn an_upload_is_answered_in_zohos_shape_and_kept_byte_for_byte() {
    let bench = Bench::start("").await;
    let zip = archive(&[("Leads.csv", "a,b\n1,2\n"), ("Site_Visits.csv", "c\n3\n")]);
    let answer = bench.send(bench.upload_of(&zip)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
    let body = answer.json();
    let id = answer.file_id();
    let time = body["details"]["created_time"].as_str().unwrap();
    let expected = json!({
        "status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded.",
        "details": { "file_id": id, "created_time": time },
    });
    assert_eq!(body, expected);
    assert!((18..=19).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with("+00:00"), "{time}");
    assert_eq!(bench.kept(&id), zip);
    assert_eq!(bench.kept_count(), 1);
}

#[tokio::test]
async fn ids_are_unique_and_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids: Vec<u64> = Vec::new();
    for _ in 0..3 {
        let sandbox = Sandbox::start(config(&dir, "")).await.unwrap();
        let bench = Bench { sandbox, dir: tempfile::tempdir().unwrap() };
        for _ in 0..3 {
            ids.push(bench.send(bench.upload()).await.file_id().parse().unwrap());
        }
        bench.sandbox.stop().await;
    }
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(dir.path().join("kept").read_dir().unwrap().count(), 9);
}

#[tokio::test]
async fn every_header_fault_has_zohos_code_and_words() {
    let bench = Bench::start("").await;
    let good = bench.upload();
    let cases = [
        (
            good.clone().at("/crm/v2/uploads"),
            404,
            "INVALID_URL_PATTERN",
            "Please check if the URL trying to access is a correct one",
        ),
        (
            good.clone().at("/"),
            404,
            "INVALID_URL_PATTERN",
            "Please check if the URL trying to access is a correct one",
        ),
        (
            Request { method: "PUT", ..good.clone() },
            400,
            "INVALID_REQUEST_METHOD",
            "The http request method type is not a valid one",
        ),
        (good.clone().without("authorization"), 401, "AUTHENTICATION_FAILURE", "Authentication failed"),
        (
            good.clone().header("authorization", "Bearer x"),
            401,
            "AUTHENTICATION_FAILURE",
            "Authentication failed",
        ),
        (
            good.clone().header("authorization", "Zoho-oauthtoken x"),
            401,
            "INVALID_TOKEN",
            "invalid oauth token",
        ),
        (
            good.clone().without("feature"),
            400,
            "MANDATORY_NOT_FOUND",
            "Required key feature is not available",
        ),
        (
            good.clone().header("feature", "bulk-read"),
            400,
            "NOT_SUPPORTED_FEATURE",
            "Feature is not supported",
        ),
        (
            good.clone().without("x-crm-org"),
            400,
            "MANDATORY_NOT_FOUND",
            "Required key x-crm-org is not available",
        ),
        (
            good.clone().header("x-crm-org", "6004123000000020005"),
            400,
            "INVALID_DATA",
            "Invalid data - x-crm-org",
        ),
    ];
    for (request, status, code, message) in cases {
        let answer = bench.send(request).await;
        assert_eq!(answer.said(), (status, code.into(), message.into()));
        assert_eq!(
            answer.json(),
            json!({"code": code, "message": message, "status": "error", "details": {}})
        );
    }
    assert_eq!(bench.send(good).await.status, 200);
    assert_eq!(bench.kept_count(), 1);
}

#[tokio::test]
async fn a_body_that_is_no_form_of_one_zip_is_refused_and_not_kept() {
    let bench = Bench::start("").await;
    let good = bench.upload();
    let zip = archive(&[("Leads.csv", "a\n1\n")]);
    let two_parts = form("a", "a.zip", b"x");
    let two_parts =
        [&two_parts[..two_parts.len() - 4], b"\r\n", form("file", "b.zip", &zip).as_slice()].concat();
    let cases = [
        (good.clone().without("content-type"), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().header("content-type", "application/zip"), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().header("content-type", "multipart/form-data"), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().body(&zip), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().body(b""), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().body(&two_parts), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().body(&form("files", "a.zip", &zip)), "MANDATORY_NOT_FOUND", "form"),
        (good.clone().body(&form("file", "a.csv", &zip)), "INVALID_FILE_FORMAT", "file_name"),
        (good.clone().body(&form("file", ".zip", &zip)), "INVALID_FILE_FORMAT", "file_name"),
        (good.clone().body(&form("file", "a.zip", b"a,b\n1,2\n")), "INVALID_FILE_FORMAT", "zip_form"),
        (
            good.clone().body(&form("file", "a.zip", &archive(&[("Leads.csv", "a,b\n1\n")]))),
            "INVALID_DATA",
            "csv_width",
        ),
    ];
    for (request, code, check) in cases {
        let answer = bench.send(request).await;
        let body = answer.json();
        assert_eq!((answer.status, body["code"].as_str()), (400, Some(code)), "{body}");
        assert_eq!(body["details"]["check"], check, "{body}");
        assert_eq!(body["details"]["stricter_than_zoho"], true);
        assert!(body["details"]["reason"].is_string());
    }
    assert_eq!(bench.kept_count(), 0);
}

#[tokio::test]
async fn a_missing_filename_is_refused() {
    let bench = Bench::start("").await;
    let zip = archive(&[("Leads.csv", "a\n1\n")]);
    let head = b"--edge\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
    let body = [head.as_slice(), &zip, b"\r\n--edge--\r\n"].concat();
    let answer = bench.send(bench.upload().body(&body)).await;
    assert_eq!(answer.said().1, "MANDATORY_NOT_FOUND");
    assert_eq!(answer.json()["details"]["reason"], "the part has no filename");
}

#[tokio::test]
async fn a_body_without_content_length_is_refused_as_a_whole() {
    let bench = Bench::start("").await;
    let good = bench.upload();
    let chunk = [format!("{:x}\r\n", good.body.len()).as_bytes(), &good.body, b"\r\n0\r\n\r\n"].concat();
    let chunked = good.body(&chunk).without("content-length").header("transfer-encoding", "chunked");
    let answer = bench.send(chunked).await;
    assert_eq!(answer.json()["details"]["check"], "content_length");
    assert_eq!((answer.status, bench.kept_count()), (400, 0));
}

#[tokio::test]
async fn an_archive_may_have_26_214_400_bytes_and_not_one_more() {
    let bench = Bench::start("").await;
    let overhead = archive_of_bytes(0).len();
    let rows = (26_214_400 - overhead) / 10_000 * 10_000;
    let mut zip = archive_of_bytes(rows);
    // The rest in a comment, so that the length is exact.
    let missing = 26_214_400 - zip.len();
    let at = zip.len() - 2;
    zip[at..].copy_from_slice(&u16::try_from(missing).unwrap().to_le_bytes());
    zip.resize(26_214_400, b' ');
    let answer = bench.send(bench.upload_of(&zip)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(bench.kept(&answer.file_id()).len(), 26_214_400);

    zip.push(b' ');
    let over = bench.upload_of(&zip);
    let said = |status| (status, "FILE_TOO_LARGE".to_owned(), "The maximum file size is 25MB".to_owned());
    assert_eq!(bench.send(over.clone()).await.said(), said(400));
    assert_eq!(bench.send(over.at("/crm/v8/upload")).await.said(), said(413));
    let far_over = bench.upload().body(&form("file", "a.zip", &vec![0; 40 << 20]));
    assert_eq!(bench.send(far_over).await.said(), said(400));
    assert_eq!(bench.kept_count(), 1);
}

#[tokio::test]
async fn a_token_is_given_for_a_form_body_and_for_query_parameters_and_opens_the_api() {
    let bench = Bench::start("").await;
    let by_body = bench.token();
    let query = String::from_utf8(by_body.body.clone()).unwrap();
    let by_query = Request::post(&format!("/oauth/v2/token?{query}")).body(b"");
    for request in [by_body, by_query] {
        let answer = bench.send(request).await;
        let body = answer.json();
        let token = body["access_token"].as_str().unwrap();
        let expected = json!({
            "access_token": token, "scope": "ZohoFiles.files.ALL,ZohoCRM.org.READ,ZohoCRM.bulk.ALL",
            "api_domain": bench.sandbox.api_url(), "token_type": "Bearer", "expires_in": 3600,
        });
        assert_eq!((answer.status, &body), (200, &expected));
        let authorization = format!("Zoho-oauthtoken {token}");
        let answer = bench.send(bench.upload().header("Authorization", &authorization)).await;
        assert_eq!(answer.status, 200);
        let org =
            bench.send(Request::get("/crm/v8/org").header("Authorization", &authorization)).await.json();
        assert_eq!(org["org"][0]["zgid"], bench.sandbox.org());
        assert_ne!(org["org"][0]["id"], org["org"][0]["zgid"]);
        assert_eq!(org["org"][0]["domain_name"], format!("org{}", bench.sandbox.org()));
        assert_eq!(org["org"][0]["type"], "sandbox");
        assert_eq!(org["org"][0]["license_details"]["paid_type"], "enterprise");
    }
}

#[tokio::test]
async fn token_errors_come_as_200_and_the_eleventh_token_is_denied() {
    let bench = Bench::start("").await;
    let wrong = bench.token().body(b"grant_type=refresh_token&client_id=x");
    let answer = bench.send(wrong).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"error": "invalid_client"})));
    for _ in 0..10 {
        assert!(bench.send(bench.token()).await.json()["access_token"].is_string());
    }
    let answer = bench.send(bench.token()).await;
    let expected = json!({
        "error_description": "You have made too many requests continuously. Please try again after some time.",
        "error": "Access Denied", "status": "failure",
    });
    assert_eq!((answer.status, answer.json()), (400, expected));
    assert_eq!(bench.send(Request::get("/oauth/v2/token")).await.said().1, "INVALID_REQUEST_METHOD");
}

#[tokio::test]
async fn a_scope_that_is_missing_is_a_mismatch() {
    let bench = Bench::start("[tokens]\nscope = \"ZohoCRM.bulk.ALL\"").await;
    let authorization = format!("Zoho-oauthtoken {}", bench.sandbox.issue_access_token());
    let said = (401, "OAUTH_SCOPE_MISMATCH".to_owned(), "invalid oauth scope to access this URL".to_owned());
    assert_eq!(bench.send(bench.upload()).await.said(), said);
    let org = Request::get("/crm/v8/org").header("Authorization", &authorization);
    assert_eq!(bench.send(org).await.said(), said);
}

#[tokio::test]
async fn a_token_at_the_end_of_its_life_is_invalid() {
    let bench = Bench::start("[tokens]\nlifetime_seconds = 0").await;
    assert_eq!(bench.send(bench.upload()).await.said().1, "INVALID_TOKEN");
    let bench = Bench::start("").await;
    let upload = bench.upload();
    bench.sandbox.expire_tokens();
    assert_eq!(bench.send(upload).await.said().1, "INVALID_TOKEN");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let bench = Bench::start("").await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    for request in [bench.upload(), bench.token(), bench.upload().at("/nowhere"), bench.upload()] {
        stream.write_all(&request.bytes()).await.unwrap();
        read_answer(&mut stream).await.unwrap();
    }
    assert_eq!(bench.kept_count(), 2);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "8.8.8.8:80"] {
        let mut config = config(&dir, "");
        config.listen = address.parse().unwrap();
        let error = Sandbox::start(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{address}");
        assert!(error.to_string().contains(address), "{error}");
    }
    assert!(!dir.path().join("kept").exists());
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_directory_that_is_a_file_are_errors() {
    let bench = Bench::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let mut taken = config(&dir, "");
    taken.listen = bench.sandbox.address();
    assert_eq!(Sandbox::start(taken).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    std::fs::write(dir.path().join("kept"), "").unwrap();
    Sandbox::start(config(&dir, "")).await.unwrap_err();
}

#[tokio::test]
async fn a_stopped_sandbox_takes_no_connection_and_its_port_is_free() {
    let bench = Bench::start("").await;
    let address = bench.sandbox.address();
    // An idle connection does not hold it up.
    let _idle = TcpStream::connect(address).await.unwrap();
    bench.sandbox.stop().await;
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let dir = tempfile::tempdir().unwrap();
    let mut again = config(&dir, "");
    again.listen = address;
    Sandbox::start(again).await.unwrap().stop().await;
}

#[tokio::test]
async fn the_announcement_is_one_line_with_all_that_a_client_needs() {
    let bench = Bench::start("").await;
    let sandbox = &bench.sandbox;
    let line = sandbox.announcement();
    assert!(!line.contains('\n'));
    let expected = json!({
        "upload_url": format!("http://{}/crm/v2/upload", sandbox.address()),
        "accounts_url": format!("http://{}", sandbox.address()),
        "api_url": format!("http://{}", sandbox.address()),
        "org": sandbox.org(),
        "client_id": sandbox.client_id(),
        "client_secret": sandbox.client_secret(),
        "refresh_token": sandbox.refresh_token(),
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    let debug = format!("{sandbox:?}");
    for secret in [sandbox.client_id(), sandbox.client_secret(), sandbox.refresh_token()] {
        assert!(!debug.contains(secret), "{debug}");
    }
    let other = Bench::start("").await;
    assert_ne!(other.sandbox.refresh_token(), sandbox.refresh_token());
    assert_ne!(other.sandbox.client_secret(), sandbox.client_secret());
}

#[tokio::test]
async fn requests_are_recorded_without_secrets() {
    let bench = Bench::start("").await;
    let zip = archive(&[("Leads.csv", "a\n1\n")]);
    let upload = bench.upload_of(&zip);
    let token = upload.headers[0].1.split(' ').nth(1).unwrap().to_owned();
    let body_len = upload.body.len() as u64;
    let id = bench.send(upload).await.file_id();
    bench.send(bench.token()).await;
    bench.send(bench.upload().header("feature", "x")).await;

    let requests = bench.sandbox.requests();
    let [first, second, third] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((first.endpoint, first.number, first.method.as_str()), (Endpoint::Upload, 1, "POST"));
    assert_eq!((first.path.as_str(), first.body_bytes), ("/crm/v2/upload", body_len));
    assert_eq!((first.status, first.code.as_deref()), (Some(200), Some("FILE_UPLOAD_SUCCESS")));
    assert_eq!((&first.file_id, &first.kept_as), (&Some(id.clone()), &Some(id)));
    assert_eq!(first.header("authorization"), Some("Zoho-oauthtoken [redacted]"));
    assert_eq!(first.header("x-crm-org"), Some(bench.sandbox.org()));
    let part = first.part.as_ref().unwrap();
    assert_eq!((part.name.as_str(), part.file_name.as_deref()), ("file", Some("Leads-00001.zip")));
    assert_eq!((part.content_type.as_deref(), part.bytes), (Some("application/zip"), zip.len() as u64));
    assert_eq!((second.endpoint, second.number, second.status), (Endpoint::Token, 1, Some(200)));
    assert_eq!((third.number, third.code.as_deref()), (2, Some("NOT_SUPPORTED_FEATURE")));
    assert_eq!((&third.file_id, &third.kept_as), (&None, &None));
    let all = format!("{requests:?}");
    for secret in [&token, bench.sandbox.client_secret(), bench.sandbox.refresh_token()] {
        assert!(!all.contains(secret));
    }
}

//! Every fault that a plan can name, met over TCP, and the limits that a plan can set.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use upload::sandbox::{Endpoint, FaultPlan, Sandbox};

use crate::sandbox_client::{Answer, Bench, Request, archive_of_bytes, config, read_answer};

/// For what must happen: long enough for any machine, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Repeats `attempt` until it gives something.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < until, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn rule(fault: &str) -> String {
    format!("[[rule]]\nrequest = 1\nfault = {fault}\n")
}

async fn first_answer(fault: &str) -> (Bench, Answer) {
    let bench = Bench::start(&rule(fault)).await;
    let answer = bench.send(bench.upload()).await;
    (bench, answer)
}

#[tokio::test]
async fn a_planned_answer_has_the_status_code_headers_and_body_of_the_plan_and_nothing_is_kept() {
    let (bench, answer) =
        first_answer(r#"{ answer = { status = 503, headers = { Server = "ZGS", X-A = "b" } } }"#).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, ""));
    assert_eq!((answer.header("server"), answer.header("x-a")), (Some("ZGS"), Some("b")));
    assert_eq!(bench.kept_count(), 0);
    let record = &bench.sandbox.requests()[0];
    assert_eq!((record.fault, record.status), (Some("answer"), Some(503)));
    assert_eq!(bench.send(bench.upload()).await.status, 200);

    let (_, answer) = first_answer(r#"{ answer = { code = "NO_PERMISSION" } }"#).await;
    let expected =
        json!({"code": "NO_PERMISSION", "message": "permission denied", "status": "error", "details": {}});
    assert_eq!((answer.status, answer.json()), (403, expected));
    let (_, answer) =
        first_answer(r#"{ answer = { status = 200, code = "NEW", message = "says who" } }"#).await;
    assert_eq!(answer.said(), (200, "NEW".into(), "says who".into()));
    let (_, answer) =
        first_answer(r#"{ answer = { status = 502, body = "<h1>", content_type = "text/html" } }"#).await;
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("text/html")));
    assert_eq!(answer.text(), "<h1>");
}

#[tokio::test]
async fn retry_after_comes_as_seconds_or_as_a_date() {
    let (_, answer) = first_answer(r#"{ answer = { code = "TOO_MANY_REQUESTS", retry_after = 7 } }"#).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    let before = std::time::SystemTime::now();
    let (_, answer) = first_answer("{ answer = { status = 503, retry_after_date = 100 } }").await;
    let date = httpdate::parse_http_date(answer.header("retry-after").unwrap()).unwrap();
    let ahead = date.duration_since(before).unwrap().as_secs();
    assert!((98..=130).contains(&ahead), "{ahead}");
    let (_, answer) = first_answer("{ answer = { status = 429 } }").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, None));
}

#[tokio::test]
async fn html_and_redirects_come_from_something_in_front_that_keeps_nothing() {
    let (bench, answer) = first_answer("{ html = {} }").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html;charset=UTF-8")));
    assert!(answer.text().starts_with("<!DOCTYPE html>"));
    assert_eq!(bench.kept_count(), 0);
    let (bench, answer) = first_answer("{ redirect = {} }").await;
    let location = format!("{}/redirected", bench.sandbox.api_url());
    assert_eq!((answer.status, answer.header("location")), (307, Some(location.as_str())));
    let (bench, answer) =
        first_answer(r#"{ redirect = { status = 302, location = "https://example.com/a" } }"#).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://example.com/a")));
    assert_eq!(bench.kept_count(), 0);
    assert_eq!(bench.sandbox.requests().len(), 1);
}

#[tokio::test]
async fn a_reset_comes_in_mid_body_and_as_a_reset() {
    let bench = Bench::start(&rule("{ reset = { at_byte = 100 } }")).await;
    let upload = bench.upload();
    let bytes = upload.bytes();
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 10]).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let record = &bench.sandbox.requests()[0];
    assert!((100..upload.body.len() as u64).contains(&record.body_bytes), "{record:?}");
    assert_eq!((record.status, record.fault), (None, Some("reset")));

    // A body shorter than that is reset at its end.
    let bench = Bench::start(&rule("{ reset = { at_byte = 1_000_000 } }")).await;
    let error = bench.try_send(&bench.upload()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(bench.kept_count(), 0);
    assert_eq!(bench.send(bench.upload()).await.status, 200);
}

#[tokio::test]
async fn a_stall_leaves_the_body_unread_and_then_goes_on() {
    let bench = Bench::start(&rule("{ stall = { at_byte = 1000, seconds = 600 } }")).await;
    let upload = bench.upload_of(&archive_of_bytes(20_000_000));
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let bytes = upload.bytes();
    let mut writing = tokio::spawn(async move { stream.write_all(&bytes).await });
    let body_bytes = || bench.sandbox.requests().first().map_or(0, |record| record.body_bytes);
    eventually(async || (body_bytes() >= 1000).then_some(())).await;
    let written = tokio::time::timeout(Duration::from_millis(300), &mut writing).await;
    assert!(written.is_err(), "20 MB fit between client and server");
    assert!(body_bytes() < 2_000_000, "{}", body_bytes());

    let bench = Bench::start(&rule("{ stall = { seconds = 0.2 } }")).await;
    let start = Instant::now();
    assert_eq!(bench.send(bench.upload()).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_slowly_read_body_takes_its_time_and_is_accepted() {
    let bench = Bench::start(&rule("{ slow_read = { bytes_per_second = 1_000_000 } }")).await;
    let zip = archive_of_bytes(300_000);
    let start = Instant::now();
    let answer = bench.send(bench.upload_of(&zip)).await;
    // The first few thousand bytes come with the head, before the rule is known.
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(bench.kept(&answer.file_id()), zip);
    // The next request on another connection, and on none with a rule, is not slowed: 20 MB would take 20 s.
    let start = Instant::now();
    assert_eq!(bench.send(bench.upload_of(&archive_of_bytes(20_000_000))).await.status, 200);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_bandwidth_is_shared_by_all_connections() {
    let bench = Bench::start("[limits]\nread_bytes_per_second = 2_000_000").await;
    let upload = bench.upload_of(&archive_of_bytes(200_000));
    let start = Instant::now();
    let (first, second) = tokio::join!(bench.send(upload.clone()), bench.send(upload.clone()));
    assert_eq!((first.status, second.status), (200, 200));
    let bytes = 2 * upload.bytes().len();
    assert!(start.elapsed().as_secs_f64() >= 0.95 * bytes as f64 / 2e6, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_archive_is_kept() {
    let bench = Bench::start(&rule("{ slow_answer = { seconds = 600 } }")).await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    stream.write_all(&bench.upload().bytes()).await.unwrap();
    let id = eventually(async || bench.sandbox.requests().first()?.kept_as.clone()).await;
    assert!(!bench.kept(&id).is_empty());
    let answer = tokio::time::timeout(Duration::from_millis(100), read_answer(&mut stream)).await;
    assert!(answer.is_err(), "an answer came");

    let bench = Bench::start(&rule("{ slow_answer = { seconds = 0.2 } }")).await;
    let start = Instant::now();
    assert_eq!(bench.send(bench.upload()).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_archive_kept_and_the_connection_closed_in_order() {
    let bench = Bench::start(&rule("\"lose_answer\"")).await;
    let error = bench.try_send(&bench.upload()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(bench.kept_count(), 1);
    let record = &bench.sandbox.requests()[0];
    assert_eq!((record.status, &record.file_id, record.kept_as.is_some()), (None, &None, true));
}

#[tokio::test]
async fn a_cut_answer_is_half_a_json_or_breaks_off_in_the_middle() {
    let (bench, answer) = first_answer("{ cut_answer = {} }").await;
    assert_eq!(answer.status, 200);
    let len: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert_eq!(len, answer.body.len());
    assert!(answer.text().starts_with('{') && !answer.text().ends_with('}'), "{}", answer.text());
    assert_eq!(bench.kept_count(), 1);

    let bench = Bench::start(&rule("{ cut_answer = { bytes = 12, break_off = true } }")).await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    stream.write_all(&bench.upload().bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let announced =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    assert!(announced.unwrap().parse::<usize>().unwrap() > 100, "{head}");
    assert_eq!(body.len(), 12, "{body}");
    assert_eq!(bench.kept_count(), 1);
}

#[tokio::test]
async fn expired_tokens_are_invalid_and_a_new_one_is_not() {
    let bench = Bench::start("[[rule]]\nrequest = 2\nfault = \"expire_tokens\"").await;
    let upload = bench.upload();
    assert_eq!(bench.send(upload.clone()).await.status, 200);
    assert_eq!(bench.send(upload.clone()).await.said().1, "INVALID_TOKEN");
    assert_eq!(bench.send(upload.clone()).await.said().1, "INVALID_TOKEN");
    let token = bench.send(bench.token()).await.json()["access_token"].as_str().unwrap().to_owned();
    let upload = upload.header("Authorization", &format!("Zoho-oauthtoken {token}"));
    assert_eq!(bench.send(upload).await.status, 200);
}

#[tokio::test]
async fn a_repeated_file_id_is_the_one_before_and_both_archives_are_kept() {
    let bench = Bench::start("[[rule]]\nrequests = [1, 3]\nfault = \"repeat_file_id\"").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.send(bench.upload()).await.file_id());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    assert_eq!(bench.kept_count(), 3);
    let last = &bench.sandbox.requests()[2];
    assert_eq!(last.file_id.as_ref(), Some(&ids[1]));
    assert!(last.kept_as.is_some() && last.kept_as != last.file_id);
}

#[tokio::test]
async fn a_success_comes_without_file_id_or_with_a_number() {
    let (bench, answer) = first_answer("\"no_file_id\"").await;
    assert_eq!(answer.said(), (200, "FILE_UPLOAD_SUCCESS".into(), "file uploaded.".into()));
    assert_eq!((answer.json()["details"].clone(), bench.kept_count()), (json!({}), 1));
    let (bench, answer) = first_answer("\"numeric_file_id\"").await;
    let id = bench.sandbox.requests()[0].kept_as.clone().unwrap();
    assert!(answer.text().contains(&format!("\"file_id\":{id}")), "{}", answer.text());
}

#[tokio::test]
async fn a_falsified_success_does_not_touch_a_refusal() {
    for fault in ["\"no_file_id\"", "\"numeric_file_id\"", "\"repeat_file_id\""] {
        let bench = Bench::start(&rule(fault)).await;
        let answer = bench.send(bench.upload().without("feature")).await;
        let details = answer.json()["details"].clone();
        assert_eq!((answer.said().1.as_str(), details), ("MANDATORY_NOT_FOUND", json!({})));
    }
}

#[tokio::test]
async fn tokens_come_without_their_life_or_with_it_in_milliseconds() {
    let plan = "[[rule]]\non = \"token\"\nrequest = 1\nfault = \"no_expires_in\"\n\
                [[rule]]\non = \"token\"\nrequest = 2\nfault = \"expires_in_ms\"\n";
    let bench = Bench::start(plan).await;
    let answer = bench.send(bench.token()).await.json();
    assert!(answer["access_token"].is_string() && answer.get("expires_in").is_none());
    let answer = bench.send(bench.token()).await.json();
    assert_eq!((&answer["expires_in"], &answer["expires_in_sec"]), (&json!(3_600_000), &json!(3600)));
    assert_eq!(bench.send(bench.token()).await.json()["expires_in"], 3600);
}

#[tokio::test]
async fn an_answer_can_come_before_the_body_is_read() {
    for then in ["drain", "close"] {
        let fault = format!("{{ answer = {{ code = \"INVALID_TOKEN\", at_byte = 50, then = \"{then}\" }} }}");
        let bench = Bench::start(&rule(&fault)).await;
        let bytes = bench.upload_of(&archive_of_bytes(3_000_000)).bytes();
        let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
        stream.write_all(&bytes[..2_000]).await.unwrap();
        let answer = read_answer(&mut stream).await.unwrap();
        assert_eq!(answer.said().1, "INVALID_TOKEN");
        assert!(bench.sandbox.requests()[0].body_bytes < 2_000);
        if then == "drain" {
            // The rest is taken, and the connection is good for another request.
            stream.write_all(&bytes[2_000..]).await.unwrap();
            stream.write_all(&bench.upload().bytes()).await.unwrap();
            assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
            assert!(bench.sandbox.requests()[0].body_bytes > 3_000_000);
        } else {
            assert_eq!(answer.header("connection"), Some("close"));
            let rest = stream.read(&mut [0; 8]).await;
            assert!(matches!(&rest, Ok(0)) || rest.is_err(), "{rest:?}");
        }
    }
}

#[tokio::test]
async fn rules_are_on_an_endpoint_and_the_first_that_fits_is_applied() {
    let plan = "[[rule]]\non = \"token\"\nfault = { answer = { status = 500 } }\ntimes = 1\n\
                [[rule]]\non = \"org\"\nrequest = 1\nfault = { answer = { status = 501 } }\n\
                [[rule]]\nevery = 2\nfault = { answer = { status = 502 } }\n\
                [[rule]]\nfrom = 3\nto = 4\nfault = { answer = { status = 503 } }\n";
    let bench = Bench::start(plan).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(bench.send(bench.upload()).await.status);
    }
    assert_eq!(statuses, [200, 502, 503, 502, 200, 502]);
    assert_eq!(bench.send(bench.token()).await.status, 500);
    assert_eq!(bench.send(bench.token()).await.status, 200);
    assert_eq!(bench.send(Request::get("/crm/v8/org")).await.status, 501);
    let numbers: Vec<_> =
        bench.sandbox.requests().iter().map(|record| (record.endpoint, record.number)).collect();
    assert_eq!(
        numbers[5..],
        [(Endpoint::Upload, 6), (Endpoint::Token, 1), (Endpoint::Token, 2), (Endpoint::Org, 1)]
    );
}

#[tokio::test]
async fn a_seed_decides_which_requests_a_probability_meets() {
    let statuses = async |seed| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir, "[[rule]]\nprobability = 0.5\nfault = { answer = { status = 503 } }");
        config.seed = seed;
        let bench = Bench { sandbox: Sandbox::start(config).await.unwrap(), dir };
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(bench.send(bench.upload()).await.status);
        }
        statuses
    };
    let first = statuses(1).await;
    assert_eq!(first, statuses(1).await);
    assert_ne!(first, statuses(2).await);
    let met = first.iter().filter(|status| **status == 503).count();
    assert!((10..=30).contains(&met), "{met} of 40");
}

#[tokio::test]
async fn one_call_more_than_the_limit_is_a_429_until_another_ends() {
    let bench = Bench::start("[limits]\nconcurrency = 1\nretry_after = 3\nescalate = false").await;
    let bytes = bench.upload().bytes();
    let mut first = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    first.write_all(&bytes[..bytes.len() - 5]).await.unwrap();
    eventually(async || bench.sandbox.requests().first().map(|_| ())).await;
    let refused = bench.send(bench.upload()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("3")));
    let expected = json!({
        "code": "TOO_MANY_REQUESTS", "message": "too many requests. please try again after some time",
        "status": "error", "details": { "retry_after": 3, "limit": 1 },
    });
    assert_eq!(refused.json(), expected);
    // Tokens are given by another host at Zoho, and do not count.
    assert_eq!(bench.send(bench.token()).await.status, 200);
    first.write_all(&bytes[bytes.len() - 5..]).await.unwrap();
    assert_eq!(read_answer(&mut first).await.unwrap().status, 200);
    assert_eq!(bench.send(bench.upload()).await.status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_its_place_back() {
    let bench = Bench::start("[limits]\nconcurrency = 1").await;
    let bytes = bench.upload().bytes();
    let mut first = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    first.write_all(&bytes[..bytes.len() - 5]).await.unwrap();
    eventually(async || bench.sandbox.requests().first().map(|_| ())).await;
    drop(first);
    eventually(async || (bench.send(bench.upload()).await.status == 200).then_some(())).await;
    assert_eq!((bench.sandbox.requests()[0].status, bench.kept_count()), (None, 1));
}

#[tokio::test]
async fn a_request_inside_a_retry_after_is_marked_and_lengthens_it() {
    let bench = Bench::start(&rule(r#"{ answer = { code = "TOO_MANY_REQUESTS", retry_after = 60 } }"#)).await;
    assert_eq!(bench.send(bench.upload()).await.header("retry-after"), Some("60"));
    // For a moment a request may be one that was already on its way.
    let early = eventually(async || {
        let answer = bench.send(bench.upload()).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(early.header("retry-after"), Some("120"));
    let records = bench.sandbox.requests();
    let (last, before) = records.split_last().unwrap();
    assert!(last.early && before.iter().all(|record| !record.early), "{records:?}");
}

#[tokio::test]
async fn content_is_not_read_where_the_plan_says_so() {
    let bench = Bench::start("[checks]\ncontent = false").await;
    let ragged = crate::sandbox_client::archive(&[("Leads.csv", "a,b\n1\n")]);
    assert_eq!(bench.send(bench.upload_of(&ragged)).await.status, 200);
    assert_eq!(bench.send(bench.upload_of(b"no zip")).await.status, 400);
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_starts_no_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let error = Sandbox::start(config(&dir, "[[rule]]\nfault = \"explode\"")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().starts_with("line 2, column 9 of the fault plan: unknown variant `explode`"),
        "{error}"
    );
    assert!(!dir.path().join("kept").exists());
}

#[test]
fn what_is_wrong_with_a_plan_is_said_with_its_place() {
    let plans = [
        "[[rule]]\nfault = \"explode\"",
        "[[rule]]\nrequest = 1",
        "[[rule]]\nrequests = 1\nfault = \"lose_answer\"",
        "[[rule]]\nrequest = 1\nfoult = \"lose_answer\"\nfault = \"lose_answer\"",
        "[[rule]]\nfault = { reset = { at = 5 } }",
        "[[rule]]\nfault = { stall = { seconds = -1 } }",
        "[[rule]]\non = \"other\"\nfault = \"lose_answer\"",
        "[limit]\nconcurrency = 5",
        "[limits]\nedition = \"huge\"",
        "[limits]\nconcurrency = 0",
        "[limits]\nconcurrency = 5\nedition = \"free\"",
        "[[rule]]\nfault = \"lose_answer\"\n[[rule]]\nrequest = 1\nevery = 2\nfault = \"lose_answer\"",
        "[[rule]]\nrequest = 1\nfrom = 2\nfault = \"lose_answer\"",
        "[[rule]]\nrequests = [1, 0]\nfault = \"lose_answer\"",
        "[[rule]]\nrequests = []\nfault = \"lose_answer\"",
        "[[rule]]\nevery = 0\nfault = \"lose_answer\"",
        "[[rule]]\nprobability = 1.5\nfault = \"lose_answer\"",
        "[[rule]]\nfrom = 3\nto = 2\nfault = \"lose_answer\"",
        "[[rule]]\non = \"token\"\nfault = \"no_file_id\"",
        "[[rule]]\nfault = \"no_expires_in\"",
        "[[rule]]\nfault = { slow_read = { bytes_per_second = 0 } }",
        "[[rule]]\nfault = { redirect = { status = 200 } }",
        "[[rule]]\nfault = { redirect = { location = \"not a url\" } }",
        "[[rule]]\nfault = { html = { status = 99 } }",
        "[[rule]]\nfault = { answer = {} }",
        "[[rule]]\nfault = { answer = { status = 100 } }",
        "[[rule]]\nfault = { answer = { code = \"MINE\", status = 400 } }",
        "[[rule]]\nfault = { answer = { code = \"NO_PERMISSION\", body = \"\" } }",
        "[[rule]]\nfault = { answer = { status = 200, message = \"x\" } }",
        "[[rule]]\nfault = { answer = { status = 200, content_type = \"x\" } }",
        "[[rule]]\nfault = { answer = { status = 200, body = \"\", content_type = \"x\\n\" } }",
        "[[rule]]\nfault = { answer = { status = 429, retry_after = 1, retry_after_date = 1 } }",
        "[[rule]]\nfault = { answer = { status = 429, then = \"close\" } }",
        "[[rule]]\nfault = { answer = { status = 429, headers = { \"a b\" = \"c\" } } }",
    ];
    let mut said = String::new();
    for plan in plans {
        let error = FaultPlan::parse(plan).expect_err(plan);
        writeln!(said, "{}\n    {error}", plan.replace('\n', " / ")).unwrap();
    }
    insta::assert_snapshot!("what_is_wrong_with_a_plan", said);
}

//! Every decision of `classify`, in one table that people read: status 100 to 599 against every shape of body, and
//! every failure of the connection against how much was sent.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use proptest::prelude::*;
use upload::{Code, Disposition, FailureKind, Observed, classify};

const SUCCESS: &str = r#"{"status":"success","code":"FILE_UPLOAD_SUCCESS","message":"file uploaded.","details":{"file_id":"111111000001492610","created_time":"2018-12-31T12:00:00-12:00"}}"#;

fn decide(outcome: Result<(u16, &HeaderMap, &[u8]), FailureKind>, bytes_sent: u64) -> Disposition {
    classify(&Observed { outcome, bytes_sent, body_bytes: 100, now: SystemTime::UNIX_EPOCH })
}

/// Short enough for a table; hints have their own.
fn short(disposition: &Disposition) -> String {
    match disposition {
        Disposition::Done(receipt) => format!("done, file_id {}", receipt.file_id),
        Disposition::Refresh => "renew the token, send again".to_owned(),
        Disposition::Throttled { retry_after } => format!("all wait {}", wait(*retry_after)),
        Disposition::CreditsGone { .. } => "stop the run: credits gone".to_owned(),
        Disposition::Retry { acceptance, .. } => format!("send again, kept: {acceptance:?}"),
        Disposition::FailChunk { .. } => "fail the archive".to_owned(),
        Disposition::FailAuth { .. } => "fail the run: auth".to_owned(),
        Disposition::FailRun { .. } => "fail the run".to_owned(),
    }
}

fn wait(retry_after: Option<Duration>) -> String {
    retry_after.map_or("by default".to_owned(), |wait| format!("{} s", wait.as_secs()))
}

/// The decisions for all statuses, neighbours with the same decision on one line.
fn ranges(body: &str) -> String {
    let headers = HeaderMap::new();
    let mut lines: Vec<(u16, u16, String)> = Vec::new();
    for status in 100..=599 {
        let text = short(&decide(Ok((status, &headers, body.as_bytes())), 100));
        match lines.last_mut() {
            Some((_, last, same)) if *same == text => *last = status,
            _ => lines.push((status, status, text)),
        }
    }
    let mut table = String::new();
    for (first, last, text) in lines {
        let statuses = if first == last { first.to_string() } else { format!("{first}-{last}") };
        writeln!(table, "    {statuses:8} {text}").unwrap();
    }
    table
}

fn envelope(code: &str, message: &str) -> String {
    format!(r#"{{"code":"{code}","details":{{}},"message":"{message}","status":"error"}}"#)
}

#[test]
fn every_status_against_every_body() {
    let mut bodies: Vec<(String, String)> = [
        ("no body", ""),
        ("HTML", "<html><body>nginx</body></html>"),
        ("success", SUCCESS),
        ("success, cut short", &SUCCESS[..120]),
        ("success without a file_id", r#"{"status":"success","details":{}}"#),
        ("success with an empty file_id", r#"{"status":"success","details":{"file_id":""}}"#),
        ("success with a float for a file_id", r#"{"status":"success","details":{"file_id":1.1e17}}"#),
        ("JSON that is no object", "[1]"),
        ("an empty object", "{}"),
        (
            "an error of unknown code",
            r#"{"code":"SOMETHING_NEW","status":"error","message":"?","details":{}}"#,
        ),
        ("an error without a code", r#"{"status":"error"}"#),
        ("ERROR_CODE 401", r#"{"ERROR_CODE":401,"ERROR_MESSAGE":"Unauthorized"}"#),
        ("ERROR_CODE 500", r#"{"ERROR_CODE":500,"ERROR_MESSAGE":"?"}"#),
        (
            "x-error about the headers",
            r#"{"x-error":"check if headers [feature, X-CRM-ORG] are present and valid"}"#,
        ),
        ("x-error about anything else", r#"{"x-error":"?"}"#),
        ("http_status 400", r#"{"http_status":"400","info":"Bad Request"}"#),
    ]
    .map(|(what, body)| (what.to_owned(), body.to_owned()))
    .to_vec();
    for code in Code::ALL {
        bodies.push((code.to_string(), envelope(code.as_str(), "?")));
    }
    for message in ["Invalid data - x-crm-org", "Import file size should be less than 25 mb."] {
        bodies.push((format!("INVALID_DATA, {message}"), envelope("INVALID_DATA", message)));
    }
    bodies.push((
        "INTERNAL_ERROR with a file_id".to_owned(),
        r#"{"status":"error","code":"INTERNAL_ERROR","details":{"file_id":"1"}}"#.to_owned(),
    ));
    // Bodies that make no difference to each other share a table.
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for (what, body) in bodies {
        let table = ranges(&body);
        match tables.iter_mut().find(|(same, _)| *same == table) {
            Some((_, names)) => names.push(what),
            None => tables.push((table, vec![what])),
        }
    }
    let tables: Vec<String> =
        tables.into_iter().map(|(table, names)| format!("{}\n{table}", names.join("\n"))).collect();
    insta::assert_snapshot!(tables.join("\n"));
}

#[test]
fn every_failure_of_the_connection_against_how_much_was_sent() {
    let mut table = String::new();
    for kind in FailureKind::ALL {
        for (what, sent) in [("nothing", 0), ("a part", 50), ("all", 100)] {
            writeln!(table, "{kind:?}, {what} sent: {}", short(&decide(Err(kind), sent))).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_code_has_the_remedy_of_the_upload_page() {
    let hints: Vec<String> = Code::ALL.iter().map(|code| format!("{code}: {}", code.hint())).collect();
    insta::assert_snapshot!(hints.join("\n"));
}

#[test]
fn a_wait_comes_from_the_header_then_from_the_body() {
    let date = "Mon, 23 Nov 2026 10:00:00 GMT";
    let waits: Vec<String> = [
        (vec![], ""),
        (vec![("retry-after", "7")], r#"{"details":{"retry_after":60}}"#),
        (vec![], r#"{"details":{"retry_after":60}}"#),
        (vec![], r#"{"code":"TOO_MANY_REQUESTS","details":{"retry_after":60}}"#),
        (vec![("retry-after", " 12 ")], ""),
        (vec![("retry-after", "0")], ""),
        (vec![("retry-after", "-5")], ""),
        (vec![("retry-after", "soon")], ""),
        (vec![("retry-after", "99999999999999999999999")], ""),
        (vec![("retry-after", "Mon, 23 Nov 2026 10:02:00 GMT"), ("date", date)], ""),
        (vec![("retry-after", "Mon, 23 Nov 2026 09:00:00 GMT"), ("date", date)], ""),
        (vec![("retry-after", "Thu, 01 Jan 1970 00:01:30 GMT")], ""),
        (vec![("x-api-credits-remaining", "0"), ("retry-after", "7")], ""),
        (vec![("x-api-credits-remaining", "10")], ""),
    ]
    .into_iter()
    .map(|(headers, body)| {
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            map.insert(*name, value.parse().unwrap());
        }
        format!("{headers:?} {body} -> {}", short(&decide(Ok((429, &map, body.as_bytes())), 100)))
    })
    .collect();
    insta::assert_snapshot!(waits.join("\n"));
}

#[test]
fn a_success_before_the_whole_body_was_sent_is_not_believed() {
    let headers = HeaderMap::new();
    let early = decide(Ok((200, &headers, SUCCESS.as_bytes())), 99);
    assert_eq!(short(&early), "send again, kept: Unknown");
}

#[test]
fn a_gateway_that_had_no_whole_body_cannot_have_passed_it_on() {
    let headers = HeaderMap::new();
    for status in [502, 504] {
        assert_eq!(short(&decide(Ok((status, &headers, b"")), 99)), "send again, kept: Impossible");
        assert_eq!(short(&decide(Ok((status, &headers, b"")), 100)), "send again, kept: Unlikely");
    }
}

/// Bodies near the truth: pieces of the real thing, put together at random.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("\"success\"".to_owned()),
        Just("\"error\"".to_owned()),
        Just("\"FILE_UPLOAD_SUCCESS\"".to_owned()),
        Just("{\"file_id\":\"1\"}".to_owned()),
        Just("{\"file_id\":12345678901234567890}".to_owned()),
        Just("{\"file_id\":1e300,\"retry_after\":1e300}".to_owned()),
        Just("{\"file_id\":\"\"}".to_owned()),
        Just("null".to_owned()),
        Just("-1".to_owned()),
        prop::sample::select(Code::ALL.to_vec()).prop_map(|code| format!("\"{code}\"")),
    ];
    let key = prop::sample::select(vec!["status", "code", "details", "message", "ERROR_CODE", "http_status"]);
    let fields = prop::collection::vec((key, value), 0..6).prop_map(|fields| {
        let fields: Vec<String> =
            fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![4 => fields, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_decided_and_nothing_but_the_four_parts_is_a_success(
        status in 100_u16..1000,
        body in body(),
        retry_after in prop::option::of("[ -~]{0,30}"),
        bytes_sent in 0_u64..=100,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", value.parse().unwrap());
        }
        if let Disposition::Done(receipt) = decide(Ok((status, &headers, &body)), bytes_sent) {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert!((200..300).contains(&status));
            prop_assert_eq!(&json["status"], "success");
            let id = match &json["details"]["file_id"] {
                serde_json::Value::String(id) => id.clone(),
                other => other.as_u64().unwrap().to_string(),
            };
            prop_assert_eq!(receipt.file_id.as_str(), id);
            prop_assert!(!receipt.file_id.as_str().is_empty());
            prop_assert_eq!(bytes_sent, 100);
        }
    }
}

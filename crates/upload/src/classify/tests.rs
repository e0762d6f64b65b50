use http::HeaderValue;

use super::*;

const SUCCESS: &str = r#"{"status":"success","code":"FILE_UPLOAD_SUCCESS","message":"file uploaded.","details":{"file_id":"111111000001492610","created_time":"2018-12-31T12:00:00-12:00"}}"#;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Disposition {
    answer_to(status, headers, body, 100)
}

fn answer_to(status: u16, headers: &[(&'static str, &str)], body: &str, bytes_sent: u64) -> Disposition {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    classify(&Observed {
        outcome: Ok((status, &map, body.as_bytes())),
        bytes_sent,
        body_bytes: 100,
        now: httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap(),
    })
}

#[test]
fn success_needs_all_four_parts() {
    assert!(matches!(answer(200, &[], SUCCESS), Disposition::Done(receipt)
        if receipt.file_id.as_str() == "111111000001492610" && receipt.code.as_deref() == Some("FILE_UPLOAD_SUCCESS")));
    assert!(matches!(answer(201, &[], SUCCESS), Disposition::Done(_)));
    for (status, body) in [
        (404, SUCCESS),
        (200, "<html>success</html>"),
        (200, &SUCCESS[..SUCCESS.len() - 1]),
        (200, &SUCCESS.replace("\"success\"", "\"error\"")),
        (200, &SUCCESS.replace("\"success\"", "\"Success \"")),
        (200, &SUCCESS.replace("111111000001492610", "")),
        (200, &SUCCESS.replace("file_id", "id")),
        (200, ""),
    ] {
        assert!(!matches!(answer(status, &[], body), Disposition::Done(_)), "{status} {body}");
    }
}

#[test]
fn each_word_of_the_size_limit_refuses_the_archive_and_nothing_else_does() {
    let message = |message: &str| {
        answer(400, &[], &format!(r#"{{"code":"INVALID_DATA","message":"{message}","status":"error"}}"#))
    };
    let too_large = Disposition::FailChunk { hint: Some(Code::FileTooLarge.hint()) };
    for words in ["Import file size should be less than 25 mb.", "over 25 MB", "the file size is wrong"] {
        assert_eq!(message(words), too_large, "{words}");
    }
    assert_ne!(message("the data is wrong"), too_large);
    assert_eq!(message("invalid X-CRM-ORG"), Disposition::FailRun { hint: Code::InvalidData.hint() });
}

#[test]
fn headers_alone_ask_to_wait_by_429_and_by_retry_after_of_a_server_at_fault() {
    let mut waiting = HeaderMap::new();
    waiting.insert(RETRY_AFTER, HeaderValue::from_static("7"));
    let none = HeaderMap::new();
    let asks = |status| (asks_to_wait(status, &none), asks_to_wait(status, &waiting));
    assert_eq!(asks(429), (true, true));
    for status in [500, 503, 599] {
        assert_eq!(asks(status), (false, true), "{status}");
    }
    for status in [200, 302, 400, 428, 430, 499] {
        assert_eq!(asks(status), (false, false), "{status}");
    }
}

#[test]
fn a_body_can_have_been_accepted_only_when_all_of_it_was_sent() {
    let lost = |bytes_sent, body_bytes| {
        let now = SystemTime::UNIX_EPOCH;
        match classify(&Observed { outcome: Err(FailureKind::Lost), bytes_sent, body_bytes, now }) {
            Disposition::Retry { acceptance, .. } => acceptance,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lost(99, 100), Acceptance::Impossible);
    assert_eq!(lost(100, 100), Acceptance::Unknown);
    assert_eq!(lost(0, 100), Acceptance::Impossible);
    assert_eq!(lost(0, 0), Acceptance::Impossible, "nothing was sent");
}

#[test]
fn a_cause_says_what_happened_and_whether_time_ran_out() {
    let causes = [
        (Cause::Connection(FailureKind::Lost), false, "the connection was lost"),
        (Cause::Connection(FailureKind::Stalled), true, "the server stopped taking the body"),
        (Cause::Status(408), true, "the server answered 408"),
        (Cause::Status(503), false, "the server answered 503"),
        (Cause::Status(504), true, "the server answered 504"),
        (Cause::Code(Code::InternalError), false, "the server answered `INTERNAL_ERROR`"),
        (Cause::NotJson(200), false, "the server answered 200 with a body that is no whole JSON"),
        (Cause::NoFileId(200), false, "the server answered 200 without a file_id"),
        (Cause::Early(200), false, "the server answered 200 before it had the whole body"),
    ];
    for (cause, timeout, told) in causes {
        assert_eq!((cause.is_timeout(), cause.to_string().as_str()), (timeout, told));
    }
}

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

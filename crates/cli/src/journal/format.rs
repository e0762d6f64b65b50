//! The format of the lines: as documented, and with the rules for other versions kept.

use super::fixture::*;
use super::tests::{recovered, written};
use super::*;
use event::Target;

#[test]
fn the_format_of_every_line_is_as_documented() {
    let time: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
    let mut events =
        vec![Event::Header(Box::new(header())), Event::Plan(Plan { chunks: vec![planned(&name(1), 1, 2)] })];
    events.push(Event::Target { target: Target::Sandbox });
    events.extend(story().into_iter().take(6));
    events.extend([failed(&name(1)), resumed(), Event::Finished { exit: 130 }]);
    let (mut text, mut chain) = (String::new(), Chain::default());
    for (n, event) in events.into_iter().enumerate() {
        let (bytes, next) = line::encode(&Line { n: n as u64 + 1, time, event }, chain).unwrap();
        chain = next;
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_newer_format_and_an_unknown_event_are_refused_and_unknown_fields_ignored() {
    let encode = |line: &serde_json::Value, before: &[u8]| {
        // As `line::encode`, for what no `Line` can say.
        let chain = before.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty()).map_or(0, |line| {
            u64::from_str_radix(std::str::from_utf8(&line[line.len() - 18..line.len() - 2]).unwrap(), 16)
                .unwrap()
        });
        let body = line.to_string();
        let body = &body.as_bytes()[..body.len() - 1];
        let sum = xxhash_rust::xxh3::xxh3_64_with_seed(body, chain);
        [before, body, format!(",\"sum\":\"{sum:016x}\"}}\n").as_bytes()].concat()
    };
    let newer = serde_json::json!({ "n": 1, "time": "2026-01-31T12:00:00Z", "event": "header", "format": 2, "other": 1 });
    assert!(matches!(recovered(&encode(&newer, b"")), Err(JournalError::Newer { format: 2, .. })));
    let mut newer = serde_json::to_value(header()).unwrap();
    newer["format"] = 3.into();
    newer["n"] = 1.into();
    newer["time"] = "2026-01-31T12:00:00Z".into();
    newer["event"] = "header".into();
    assert!(matches!(recovered(&encode(&newer, b"")), Err(JournalError::Newer { format: 3, .. })));

    // Begun by this version, gone on with by a later one.
    let (bytes, _) = written(vec![]);
    for more in [serde_json::json!({ "tool": "zbulk 2" }), serde_json::json!({})] {
        let mut newer =
            serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "resumed", "format": 2 });
        newer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let newer = encode(&newer, &bytes);
        assert!(matches!(recovered(&newer), Err(JournalError::Newer { format: 2, .. })));
        let other =
            encode(&serde_json::json!({ "n": 4, "time": "2026-01-31T12:00:00Z", "event": "merged" }), &newer);
        assert!(matches!(recovered(&other), Err(JournalError::Newer { format: 2, .. })));
    }
    let old = serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "resumed", "format": 1, "tool": "zbulk 0" });
    assert_eq!(
        recovered(&encode(&old, &bytes)).unwrap().lines,
        3,
        "a missing field that may be null is null"
    );

    let (bytes, states) = written(vec![]);
    let unknown = serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "merged" });
    let error = recovered(&encode(&unknown, &bytes)).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { line: 3, source: Damage::Line(LineError::Format(_)), .. }),
        "{error:?}"
    );

    // A line of this version that lacks what it must have is damaged, and not of a later one.
    let lacking =
        serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "resumed", "format": FORMAT });
    assert!(matches!(recovered(&encode(&lacking, &bytes)), Err(JournalError::Damaged { line: 3, .. })));

    let more = serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "finished", "exit": 0, "later": [1] });
    let state = recovered(&encode(&more, &bytes)).unwrap();
    assert_eq!((state.finished, state.lines), (Some(0), states[0].1.lines + 1));
}

#[test]
fn messages_name_the_file_and_the_line() {
    let (mut bytes, _) = written(story());
    bytes[3000] ^= 1;
    let error = recovered(&bytes).unwrap_err();
    let layers: Vec<String> = anyhow::Error::from(error).chain().map(ToString::to_string).collect();
    insta::assert_snapshot!(layers.join("\n"), @r"
    journal.jsonl:8: the journal is damaged
    its checksum does not fit
    ");
}

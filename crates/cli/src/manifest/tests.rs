//! The manifest says what its schema says, and what the journal says.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::journal::fixture::{attempt, cut, failed, name, packed, states, story};

/// The schema with every object closed: a field that it does not describe is an error.
fn strict() -> Value {
    fn close(schema: &mut Value) {
        if let Value::Object(object) = schema {
            if object.contains_key("properties") && object.contains_key("type") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        } else if let Value::Array(items) = schema {
            items.iter_mut().for_each(close);
        }
    }
    let mut schema = serde_json::from_str(SCHEMA).unwrap();
    close(&mut schema);
    schema
}

#[test]
fn every_state_of_a_run_fits_the_schema_with_no_field_undescribed() {
    let validator = jsonschema::options().should_validate_formats(true).build(&strict()).unwrap();
    for state in states(story()) {
        let manifest = serde_json::to_value(Manifest::new(&state)).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&manifest)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn the_schema_refuses_what_a_manifest_never_says() {
    let validator = jsonschema::validator_for(&strict()).unwrap();
    let state = states(story()).pop().unwrap();
    let good = serde_json::to_value(Manifest::new(&state)).unwrap();
    for (pointer, wrong) in [
        ("/format", json!(2)),
        ("/chunks/0/upload/file_id", json!(111_111_000_001_000_001_u64)),
        ("/chunks/0/upload/file_id", json!(null)),
        ("/chunks/0/upload/state", json!("done")),
        ("/chunks/1/upload/file_id", json!("5")),
        ("/chunks/0/name", json!("../x.zip")),
        ("/chunks/0/entries", json!([])),
        ("/chunks/0/archive_sha256", json!("ABC")),
        ("/target", json!({ "kind": "zoho", "dc": "eu" })),
        ("/run", json!({ "name": "crm" })),
    ] {
        let mut manifest = good.clone();
        *manifest.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&manifest), "{pointer}");
    }
}

#[test]
fn every_planned_chunk_is_listed_in_every_state_and_totals_reconcile() {
    for state in states(story()) {
        let Totals { records, packed, rejected, chunks, uploaded, failed, unknown, pending, .. } =
            Totals::of(&state);
        let manifest = Manifest::new(&state);
        assert_eq!(chunks, uploaded + failed + unknown + pending);
        assert_eq!(chunks as usize, manifest.chunks.len());
        assert_eq!(records, packed + rejected);
        assert!(manifest.chunks.iter().all(|chunk| chunk.upload.file_id.is_some() == (chunk.upload.state == UploadStatus::Uploaded)));
    }
}

#[test]
fn the_json_reads_so() {
    let state =
        states(vec![packed(&name(1), '4'), attempt(&name(1), 1), failed(&name(1)), cut(2)]).pop().unwrap();
    insta::assert_json_snapshot!(Manifest::new(&state));
}

#[test]
fn the_table_has_a_row_for_every_entry_and_survives_what_a_server_says() {
    let mut events = story();
    for event in &mut events {
        if let crate::journal::event::Event::Uploaded { created_time, .. } = event {
            *created_time = Some("a,\"b\"\nc".to_owned());
        }
    }
    let state = states(events).pop().unwrap();
    let dir = tempfile::tempdir().unwrap();
    Manifest::new(&state).publish(dir.path()).unwrap();
    let text = fs::read_to_string(dir.path().join(CSV_NAME)).unwrap();
    insta::assert_snapshot!(text, @r#"
    chunk,archive,module,role,records,first_record,last_record,csv_bytes,archive_bytes,sha256,file_id,created_time,state
    1,Contacts-00001.zip,Contacts,parent,2,1,2,30,150,4444444444444444444444444444444444444444444444444444444444444444,111111000001000001,"a,""b""
    c",uploaded
    2,Contacts-00002a.zip,Contacts,parent,2,1,2,30,150,5555555555555555555555555555555555555555555555555555555555555555,,,failed
    2,Contacts-00002b.zip,Contacts,parent,2,1,2,30,150,7777777777777777777777777777777777777777777777777777777777777777,111111000001000002,"a,""b""
    c",uploaded
    3,Contacts-00003.zip,Contacts,parent,2,1,2,30,150,6666666666666666666666666666666666666666666666666666666666666666,,,unknown
    "#);
    let rows = csv::Reader::from_reader(text.as_bytes()).into_records().map(Result::unwrap).count();
    assert_eq!(rows, state.chunks().map(|chunk| chunk.planned.entries.len()).sum::<usize>());
    let json: Value = serde_json::from_slice(&fs::read(dir.path().join(JSON_NAME)).unwrap()).unwrap();
    assert_eq!(json, serde_json::to_value(Manifest::new(&state)).unwrap());
}

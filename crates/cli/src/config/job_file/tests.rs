//! What a job file may say, and how it is told that it may not.

use proptest::prelude::*;

use super::super::setting::Key;
use super::*;

fn parse(text: &str) -> Result<JobFile, Vec<Problem>> {
    JobFile::parse(Path::new("jobs/crm.toml"), text)
}

/// The messages and hints of a job file that is refused.
fn refused(text: &str) -> String {
    let problems = parse(text).expect_err("the file is wrong");
    let mut told = Vec::new();
    crate::failure::Failure::many(crate::exit_code::ExitCode::Usage, problems)
        .write_to(&mut told, crate::output::Paint(false))
        .unwrap();
    String::from_utf8(told).unwrap()
}

const FULL: &str = r#"
name = "crm-2026"
rejects = "set-aside"

[target]
dc = "eu"
org = 56123447

[[import]]
module = "Contacts"
csv = "contacts.csv"
key = "Legacy_ID"
encoding = "windows-1252"
delimiter = ";"

  [[import.child]]
  kind = "line-items"
  module = "Vehicles"
  csv = "../vehicles.csv"
  parent_key = "Contact"

[[import]]
module = "Products"
csv = "/data/products.csv"

[limits]
chunk_records = 5_000
max_csv_bytes = "none"

[pack]
level = 9

[upload]
starts_per_second = 0.5
"#;

#[test]
fn a_job_file_names_imports_children_and_settings() {
    let job = parse(FULL).unwrap();
    assert_eq!(job.name.as_deref(), Some("crm-2026"));
    let [contacts, products] = &job.imports[..] else { panic!("two imports") };
    assert_eq!(contacts.parent.path, Path::new("jobs/contacts.csv"));
    assert_eq!(
        (contacts.parent.delimiter, contacts.parent.encoding.as_deref()),
        (Some(b';'), Some("windows-1252"))
    );
    assert_eq!(contacts.children[0].kind, ChildKind::LineItems);
    assert_eq!(contacts.children[0].input.key.as_deref(), Some("Contact"));
    assert_eq!(contacts.children[0].input.path, Path::new("jobs/../vehicles.csv"));
    assert_eq!(products.parent.path, Path::new("/data/products.csv"));
    let given = |key| job.settings.get(&key).map(|given: &super::super::setting::Given| given.text.as_str());
    assert_eq!(given(Key::Org), Some("56123447"));
    assert_eq!(given(Key::ChunkRecords), Some("5000"));
    assert_eq!(given(Key::StartsPerSecond), Some("0.5"));
    assert_eq!(given(Key::Rejects), Some("set-aside"));
    assert_eq!(job.settings[&Key::Level].to_string(), "jobs/crm.toml:31:9: `pack.level = 9`");
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    insta::assert_snapshot!(refused(r#"
name = "../up"
rejcts = "stop"

[target]
upload_url = "https://evil.example/"
orgg = "1"

[credentials]
token_command = "rm -rf ~"

[[import]]
module = "Contacts"
cvs = "contacts.csv"

  [[import.child]]
  kind = "subfrom"
  module = "contacts"
  csv = ""
  parent_key = 7

[[import]]
module = "1x"
csv = "x.csv"
delimiter = "^"

[limits]
chunk_record = 5
"#), @r#"
    error: jobs/crm.toml:2:8: `name = "../up"` must begin with a letter or digit and hold letters, digits, `-`, `_`, `.` and spaces only, 100 bytes at most

    error: jobs/crm.toml:3:1: unknown key `rejcts`
    hint: did you mean `rejects`?

    error: jobs/crm.toml:6:14: `target.upload_url` may not stand in a job file: job files come from others
    hint: give it with --upload-url, as ZBULK_UPLOAD_URL, or in the user file

    error: jobs/crm.toml:7:1: unknown key `orgg` in [target]
    hint: did you mean `org`?

    error: jobs/crm.toml:9:1: [credentials] may not stand in a job file: job files come from others
    hint: give it in the user file

    error: jobs/crm.toml:12:1: [[import]] has children and no `key`
    hint: name the column of the parent's CSV that the children refer to: key = "Legacy_ID"

    error: jobs/crm.toml:12:1: [[import]] has no `csv`
    hint: the path of the CSV, as in csv = "contacts.csv"

    error: jobs/crm.toml:14:1: unknown key `cvs` in [[import]]
    hint: did you mean `csv`?

    error: jobs/crm.toml:17:10: `import.child.kind = "subfrom"` must be one of subform, line-items, linking, multi-user

    error: jobs/crm.toml:18:12: module `contacts` stands twice in one import, as `Contacts` before
    hint: modules name the CSVs in an archive: put the second one into an [[import]] of its own

    error: jobs/crm.toml:19:9: `import.child.csv` is empty

    error: jobs/crm.toml:20:16: `import.child.parent_key` must be a text in quotes

    error: jobs/crm.toml:23:10: `module = "1x"` must be a module's API name: a letter, then letters, digits and underscores

    error: jobs/crm.toml:25:13: `delimiter = "^"` must be one of `,` `;` `|` `:` or tab

    error: jobs/crm.toml:28:1: unknown key `chunk_record` in [limits]
    hint: did you mean `chunk_records`?
    "#);
}

#[test]
fn a_file_without_imports_says_how_to_write_one() {
    insta::assert_snapshot!(refused("name = \"x\"\n"), @r#"
    error: jobs/crm.toml:1:1: there is no [[import]]
    hint: add one:
          [[import]]
          module = "Contacts"
          csv = "contacts.csv"
    "#);
}

#[test]
fn broken_syntax_is_told_with_its_place() {
    insta::assert_snapshot!(refused("name = \"x\"\n[[import]\nmodule = 1\n"), @r"
    error: jobs/crm.toml:2:10: unclosed array table, expected `]`
    ");
}

#[test]
fn tables_of_the_wrong_shape_are_told() {
    insta::assert_snapshot!(refused("import = 1\nlimits = [1]\npack = { level = [6] }\n"), @r"
    error: jobs/crm.toml:1:10: `import` must be a list of tables, each written `[[import]]`

    error: jobs/crm.toml:2:10: `limits` must be a table, written `[limits]`

    error: jobs/crm.toml:3:18: `pack.level` must be a text, a number or a boolean
    ");
}

#[test]
fn modules_differ_within_one_import_ignoring_case_but_not_across_imports() {
    let one = "[[import]]\nmodule = 'A'\ncsv = 'a'\nkey = 'k'\n[[import.child]]\nkind = 'subform'\nmodule = 'a'\ncsv = 'b'\nparent_key = 'p'\n";
    insta::assert_snapshot!(refused(one), @r"
    error: jobs/crm.toml:7:10: module `a` stands twice in one import, as `A` before
    hint: modules name the CSVs in an archive: put the second one into an [[import]] of its own
    ");
    let two = "[[import]]\nmodule = 'A'\ncsv = 'a'\n[[import]]\nmodule = 'a'\ncsv = 'b'\n";
    assert_eq!(parse(two).unwrap().imports.len(), 2);
}

/// Text that looks more or less like a job file.
fn job_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[[import]]".to_owned()),
        Just("[[import.child]]".to_owned()),
        Just("[limits]".to_owned()),
        Just("[target]".to_owned()),
        Just("[import]".to_owned()),
        ("(name|module|csv|key|kind|parent_key|delimiter|encoding|level|dc|org|chunk_records|rejects|x)",
            r#"("[^"\\]{0,9}"|'[^']{0,9}'|-?[0-9]{1,40}|0x[0-9a-f]{1,40}|[0-9]\.[0-9]|true|\[1\]|\{a=1\}|1979-05-27)"#)
            .prop_map(|(key, value)| format!("{key} = {value}")),
        ".{0,20}",
    ];
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_every_refusal_has_a_place(text in prop_oneof![job_like(), "\\PC{0,200}"]) {
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let message = problem.layers().next().unwrap_or_default();
                prop_assert!(message.starts_with("jobs/crm.toml:"), "{}", message);
            }
        }
    }

    #[test]
    fn what_is_taken_keeps_its_names_within_bounds(text in job_like()) {
        if let Ok(job) = parse(&text) {
            prop_assert!(!job.imports.is_empty());
            for import in &job.imports {
                prop_assert!(import.children.is_empty() || import.parent.key.is_some());
                let modules = std::iter::once(&import.parent).chain(import.children.iter().map(|child| &child.input));
                for input in modules {
                    prop_assert!(super::super::parse::module(&input.module).is_ok());
                }
            }
        }
    }
}

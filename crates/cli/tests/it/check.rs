//! `zbulk check`: every problem at once, with its place; and nothing left behind.

use crate::workbench::Workbench;

const JOB: &str = r#"
[[import]]
module = "Contacts"
csv = "contacts.csv"
key = "ID"

  [[import.child]]
  kind = "subform"
  module = "Vehicles"
  csv = "vehicles.csv"
  parent_key = "Contact"

[[import]]
module = "Products"
csv = "products.csv"
"#;

fn good() -> Workbench {
    Workbench::new()
        .file("zbulk.toml", JOB)
        .file("contacts.csv", "ID,Name\n1,Ada\n2,\"Grace\nHopper\"\n")
        .file("vehicles.csv", "\u{feff}Contact;Plate\r\n1;A\r\n\r\n2;B\r\n1;C\r\n")
        .file("products.csv", "Code\nx\n")
}

fn bad() -> Workbench {
    good()
        .file("contacts.csv", "ID,Name\n1,Ada\n2,Grace,Hopper\n3,Edsger\n3,Dijkstra\n4,\u{0}\n")
        .file("vehicles.csv", "Contact,Plate\n1,A\n3,B\n9,C\n\u{1b}[2J,D\n,E\n2,F\n9,G\n9,H\n9,I\n")
        .file("products.csv", b"Code,X\n\"open,1\nb,2\n")
}

#[test]
fn inputs_without_fault_are_described() {
    let bench = good();
    let told = bench.run("check");
    insta::assert_snapshot!(told.all(), @r"
    module    role     file          records  rejected  blank  bytes  delimiter  encoding        widest  most children
    Contacts  parent   contacts.csv        2         0      0   31 B  ,          UTF-8             17 B
    Vehicles  subform  vehicles.csv        3         0      1   35 B  ;          UTF-8 with BOM     4 B              2
    Products  parent   products.csv        1         0      0    7 B  ,          UTF-8              2 B

    to send: 6 records, 64 B of CSV, in 2 archives
    ---
    exit 0
    ");
    assert_eq!(bench.files(), ["contacts.csv", "products.csv", "vehicles.csv", "zbulk.toml"]);
}

#[test]
fn every_problem_of_every_input_is_told_with_its_place() {
    let told = bad().run("check");
    assert!(!told.out.contains('\u{1b}'));
    insta::assert_snapshot!(told.all(), @r"
    module    role     file          records  rejected  blank  bytes  delimiter  encoding  widest  most children
    Contacts  parent   contacts.csv        5         4      0   53 B  ,          UTF-8       15 B
    Vehicles  subform  vehicles.csv        9         8      0   52 B  ,          UTF-8        7 B              1
    Products  parent   products.csv        0         0      0   19 B  ,          UTF-8        0 B

    contacts.csv: 1 key is borne by several records
    vehicles.csv: keys with the most orphans: `9` 4 (first in line 4), `\u{1b}[2J` 1 (first in line 5)

    products.csv:2: record 1: a quote opens in this record and never closes
      noticed in line 4; the record begins at byte 7
      hint: look at the quotes of this record; a quote inside a quoted field is doubled
    contacts.csv: 1 record cannot be sent: wrong-field-count
      contacts.csv:3: record 2, key `2`: 3 fields, the header has 2
      hint: give the record as many fields as the header; a field that holds the delimiter or a line break must be quoted
    contacts.csv: 1 record cannot be sent: nul
      contacts.csv:6: record 5, key `4`: a NUL byte at offset 2 of the record
      hint: remove the NUL bytes; they often mean UTF-16 or a damaged export
    contacts.csv: 2 records cannot be sent: duplicate-key
      contacts.csv:4: record 3, key `3`: another parent has the same key, and children refer to it
      contacts.csv:5: record 4, key `3`: another parent has the same key, and children refer to it
      hint: make the key unique in the parent's file: nobody could tell to which parent the children belong
    vehicles.csv: 5 records cannot be sent: orphan
      vehicles.csv:4: record 3, key `9`: no parent has this key
      vehicles.csv:5: record 4, key `\u{1b}[2J`: no parent has this key
      vehicles.csv:8: record 7, key `9`: no parent has this key
      and 2 more
      hint: add the parent to the parent's file, or remove the child
    vehicles.csv: 1 record cannot be sent: blank-parent-key
      vehicles.csv:6: record 5, key ``: the parent key is blank
      hint: fill in the parent key, or remove the child
    vehicles.csv: 1 record cannot be sent: ambiguous-parent
      vehicles.csv:3: record 2, key `3`: several parents have this key
      hint: make the key unique in the parent's file: nobody could tell to which parent the children belong
    vehicles.csv: 1 record cannot be sent: parent-rejected
      vehicles.csv:7: record 6, key `2`: its parent is rejected
      hint: mend the parent

    to send: nothing, until the above is mended
    ---
    error: 12 records cannot be sent, 1 input cannot be read to the end, and nothing was sent
    hint: mend the quotes first: nobody can tell where the records after them begin
    exit 3
    ");
}

#[test]
fn set_aside_goes_on_without_the_rejects_but_not_past_a_fault() {
    let bench = bad();
    assert_eq!(bench.run("check --rejects set-aside").code, 3);
    let bench = bench.file("products.csv", "Code\nx\n");
    let told = bench.run("check --rejects set-aside");
    assert_eq!(told.code, 0);
    assert!(told.out.contains("to send: 3 records"), "{}", told.out);
}

#[test]
fn json_holds_the_same_for_programs() {
    let told = bad().run("check --json --quiet");
    assert_eq!(told.code, 3);
    let document: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    insta::assert_snapshot!(told.out, @r#"
    {
      "faults": [
        {
          "byte": 7,
          "code": "unclosed-quote",
          "file": "products.csv",
          "line": 2,
          "message": "a quote opens in this record and never closes",
          "module": "Products",
          "noticed_line": 4,
          "record": 1
        }
      ],
      "inputs": [
        {
          "blank_lines": 0,
          "bom": false,
          "bytes": 53,
          "columns": [
            "ID",
            "Name"
          ],
          "columns_never_filled": [],
          "delimiter": ",",
          "duplicate_keys": 1,
          "encoding": "UTF-8",
          "file": "contacts.csv",
          "key_index": 0,
          "kind": null,
          "max_children": null,
          "module": "Contacts",
          "orphan_keys": [],
          "packed": 1,
          "parents_above_200": null,
          "records": 5,
          "rejected": 4,
          "role": "parent",
          "widest_record_bytes": 15,
          "xxh3_128": "68f62fb9e04f925330bf12b376d9bb05"
        },
        {
          "blank_lines": 0,
          "bom": false,
          "bytes": 52,
          "columns": [
            "Contact",
            "Plate"
          ],
          "columns_never_filled": [],
          "delimiter": ",",
          "duplicate_keys": null,
          "encoding": "UTF-8",
          "file": "vehicles.csv",
          "key_index": 0,
          "kind": "subform",
          "max_children": 1,
          "module": "Vehicles",
          "orphan_keys": [
            {
              "first_line": 4,
              "key": "9",
              "records": 4
            },
            {
              "first_line": 5,
              "key": "\u001b[2J",
              "records": 1
            }
          ],
          "packed": 1,
          "parents_above_200": 0,
          "records": 9,
          "rejected": 8,
          "role": "child",
          "widest_record_bytes": 7,
          "xxh3_128": "ffdc033c161eea89962e9741fe5e85ae"
        },
        {
          "blank_lines": 0,
          "bom": false,
          "bytes": 19,
          "columns": [
            "Code",
            "X"
          ],
          "columns_never_filled": [],
          "delimiter": ",",
          "duplicate_keys": null,
          "encoding": "UTF-8",
          "file": "products.csv",
          "key_index": null,
          "kind": null,
          "max_children": null,
          "module": "Products",
          "orphan_keys": [],
          "packed": 0,
          "parents_above_200": null,
          "records": 0,
          "rejected": 0,
          "role": "parent",
          "widest_record_bytes": 0,
          "xxh3_128": "7c6e928597f9246fc20693d5b0d024a7"
        }
      ],
      "must_stop": true,
      "name": "zbulk",
      "rejected": 12,
      "rejects": [
        {
          "code": "wrong-field-count",
          "count": 1,
          "file": "contacts.csv",
          "first": [
            {
              "byte": 14,
              "bytes": 15,
              "key": "2",
              "line": 3,
              "message": "3 fields, the header has 2",
              "record": 2
            }
          ],
          "hint": "give the record as many fields as the header; a field that holds the delimiter or a line break must be quoted",
          "module": "Contacts"
        },
        {
          "code": "nul",
          "count": 1,
          "file": "contacts.csv",
          "first": [
            {
              "byte": 49,
              "bytes": 4,
              "key": "4",
              "line": 6,
              "message": "a NUL byte at offset 2 of the record",
              "record": 5
            }
          ],
          "hint": "remove the NUL bytes; they often mean UTF-16 or a damaged export",
          "module": "Contacts"
        },
        {
          "code": "duplicate-key",
          "count": 2,
          "file": "contacts.csv",
          "first": [
            {
              "byte": 29,
              "bytes": 9,
              "key": "3",
              "line": 4,
              "message": "another parent has the same key, and children refer to it",
              "record": 3
            },
            {
              "byte": 38,
              "bytes": 11,
              "key": "3",
              "line": 5,
              "message": "another parent has the same key, and children refer to it",
              "record": 4
            }
          ],
          "hint": "make the key unique in the parent's file: nobody could tell to which parent the children belong",
          "module": "Contacts"
        },
        {
          "code": "orphan",
          "count": 5,
          "file": "vehicles.csv",
          "first": [
            {
              "byte": 22,
              "bytes": 4,
              "key": "9",
              "line": 4,
              "message": "no parent has this key",
              "record": 3
            },
            {
              "byte": 26,
              "bytes": 7,
              "key": "\u001b[2J",
              "line": 5,
              "message": "no parent has this key",
              "record": 4
            },
            {
              "byte": 40,
              "bytes": 4,
              "key": "9",
              "line": 8,
              "message": "no parent has this key",
              "record": 7
            }
          ],
          "hint": "add the parent to the parent's file, or remove the child",
          "module": "Vehicles"
        },
        {
          "code": "blank-parent-key",
          "count": 1,
          "file": "vehicles.csv",
          "first": [
            {
              "byte": 33,
              "bytes": 3,
              "key": "",
              "line": 6,
              "message": "the parent key is blank",
              "record": 5
            }
          ],
          "hint": "fill in the parent key, or remove the child",
          "module": "Vehicles"
        },
        {
          "code": "ambiguous-parent",
          "count": 1,
          "file": "vehicles.csv",
          "first": [
            {
              "byte": 18,
              "bytes": 4,
              "key": "3",
              "line": 3,
              "message": "several parents have this key",
              "record": 2
            }
          ],
          "hint": "make the key unique in the parent's file: nobody could tell to which parent the children belong",
          "module": "Vehicles"
        },
        {
          "code": "parent-rejected",
          "count": 1,
          "file": "vehicles.csv",
          "first": [
            {
              "byte": 36,
              "bytes": 4,
              "key": "2",
              "line": 7,
              "message": "its parent is rejected",
              "record": 6
            }
          ],
          "hint": "mend the parent",
          "module": "Vehicles"
        }
      ],
      "to_send": {
        "chunks": 0,
        "csv_bytes": 0,
        "records": 0
      },
      "warnings": []
    }
    "#);
    assert_eq!(document["must_stop"], true);
}

#[test]
fn inputs_that_cannot_be_scanned_are_all_told_at_once() {
    let bench = good()
        .file("contacts.csv", "")
        .file("vehicles.csv", "Contact,Plate,Plate\n")
        .file("products.csv", "A,,B:C\n");
    insta::assert_snapshot!(bench.run("check").failure(), @r"
    error: contacts.csv: the file is empty: not even a header
    hint: export it again: a file without records still has its header line

    error: vehicles.csv:1: columns 2 and 3 of the header are both named `Plate`
    hint: rename one of the two columns

    error: products.csv:1: column 2 has no name in the header
    hint: give the column a name, or remove it from every record

    error: products.csv:1: column 3 is named `B:C`, which holds `:`
    hint: rename the column: Zoho finds the delimiter from the header line
    exit 3
    ");
}

#[test]
fn a_header_alone_is_a_warning_and_no_failure() {
    let bench = good().file("products.csv", "Code\n");
    let told = bench.run("check");
    assert_eq!(told.code, 0);
    assert_eq!(told.err, "warning: products.csv: the file holds a header and no record\n");
    assert_eq!(bench.run("check --quiet").err, "");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let bench = bad();
    let mut command = bench.command(&["check", "--json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output();
    let told = bench.told(&output.unwrap());
    assert_eq!(told.code, 3);
    assert!(!told.err.contains("panicked") && !told.err.contains("Broken pipe"), "{}", told.err);
}

#[test]
fn standard_input_is_an_input_once() {
    let bench = good();
    let input = std::fs::File::open(bench.path("products.csv")).unwrap();
    let mut command = bench.command(&["check", "--module", "Products", "--csv", "-", "--json"]);
    let told = bench.told(&command.stdin(input).output().unwrap());
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    let found: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found["inputs"][0]["records"], 1);
    let twice = "[[import]]\nmodule = 'A'\ncsv = '-'\n[[import]]\nmodule = 'B'\ncsv = '-'\n";
    insta::assert_snapshot!(bench.file("jobs/x.toml", twice).run("check jobs/x.toml").failure(), @r"
    error: jobs/x.toml:6:7: standard input can be read once only
    hint: write all but one of the inputs to files
    exit 2
    ");
}

//! `zbulk plan`: chunks, credits, estimates.

use crate::workbench::Workbench;

const JOB: &str = r#"
name = "crm-2026"

[[import]]
module = "Contacts"
csv = "contacts.csv"
key = "ID"

  [[import.child]]
  kind = "linking"
  module = "Vehicles"
  csv = "vehicles.csv"
  parent_key = "Contact"

[[import]]
module = "Products"
csv = "products.csv"

[limits]
chunk_records = 4
"#;

fn bench() -> Workbench {
    let contacts = (0..10).map(|i| format!("{i},name {i}")).collect::<Vec<_>>().join("\n");
    let vehicles = (0..10).map(|i| format!("{},plate {i}", 9 - i)).collect::<Vec<_>>().join("\n");
    Workbench::new()
        .file("zbulk.toml", JOB)
        .file("contacts.csv", format!("ID,Name\n{contacts}\n"))
        .file("vehicles.csv", format!("Contact,Plate\n{vehicles}\n"))
        .file("products.csv", "Code\nx\ny\n")
}

#[test]
fn the_plan_shows_every_chunk_and_what_the_whole_costs() {
    let bench = bench();
    let told = bench.run("plan --bandwidth 10kbit");
    insta::assert_snapshot!(told.all(), @r"
    chunk  archive             module    role     records  CSV bytes  archive bytes (estimate)
        1  Contacts-00001.zip  Contacts  parent         4       44 B                     293 B
                               Vehicles  linking        4       54 B
        2  Contacts-00002.zip  Contacts  parent         4       44 B                     293 B
                               Vehicles  linking        4       54 B
        3  Contacts-00003.zip  Contacts  parent         2       26 B                     179 B
                               Vehicles  linking        2       34 B
        4  Products-00004.zip  Products  parent         2        9 B                     133 B

    4 archives, 22 records, 265 B of CSV
    about 898 B of archives at level 6 (an estimate, from the first archive of each import)
    2,000 API credits for the bulk write jobs, 500 each
    about 1s to upload at 1.2 kB/s (an estimate)
    ---
    exit 0
    ");
    assert_eq!(bench.files(), ["contacts.csv", "products.csv", "vehicles.csv", "zbulk.toml"]);
}

#[test]
fn without_a_bandwidth_no_time_is_invented() {
    let told = bench().run("plan");
    assert!(told.out.ends_with("upload time: give --bandwidth, as in --bandwidth 50Mbit, for an estimate\n"));
}

#[test]
fn json_holds_the_same_for_programs() {
    let told = bench().run("plan --json");
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    let plan: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(plan["totals"]["api_credits"], 4 * 500);
    assert_eq!(plan["totals"]["records"], 22);
    assert_eq!(plan["chunks"][3]["name"], "Products-00004.zip");
    assert_eq!(plan["chunks"][0]["entries"][1]["kind"], "linking");
    let of_chunks: u64 = plan["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| chunk["estimated_archive_bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(plan["totals"]["estimated_archive_bytes"], of_chunks);
}

#[test]
fn inputs_that_would_stop_a_run_stop_the_plan() {
    let bench = bench().file("products.csv", "Code\nx,y\n");
    let told = bench.run("plan");
    insta::assert_snapshot!(told.failure(), @r"
    error: products.csv: 1 record cannot be sent: wrong-field-count
      products.csv:2: record 1: 2 fields, the header has 1
    hint: give the record as many fields as the header; a field that holds the delimiter or a line break must be quoted

    error: 1 record cannot be sent, and nothing was sent
    hint: mend them in the source and export again, or leave them out with --rejects set-aside
    exit 3
    ");
    assert_eq!(bench.run("plan --rejects set-aside").code, 0);
}

#[test]
fn a_job_without_records_has_an_empty_plan() {
    let bench = Workbench::new().file("c.csv", "A\n");
    let told = bench.run("plan --module Contacts --csv c.csv --quiet");
    insta::assert_snapshot!(told.all(), @r"
    chunk  archive  module  role  records  CSV bytes  archive bytes (estimate)

    0 archives, 0 records, 0 B of CSV
    about 0 B of archives at level 6 (an estimate, from the first archive of each import)
    0 API credits for the bulk write jobs, 500 each
    upload time: give --bandwidth, as in --bandwidth 50Mbit, for an estimate
    ---
    exit 0
    ");
}

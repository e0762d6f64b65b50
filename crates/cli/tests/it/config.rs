//! Every mistake of the configuration is told before any work, all of them at once, with what to type next.

use crate::workbench::Workbench;

const PLAIN: &str = "[[import]]\nmodule = \"Contacts\"\ncsv = \"contacts.csv\"\n";
const CSV: &str = "Legacy_ID,Last_Name\n1,Ada\n2,Grace\n";

/// A job that is right in all things.
fn bench() -> Workbench {
    Workbench::new().file("zbulk.toml", PLAIN).file("contacts.csv", CSV)
}

#[test]
fn without_a_job_file_the_ways_out_are_told() {
    let bench = Workbench::new();
    insta::assert_snapshot!(bench.run("check").failure(), @r"
    error: there is no job file: no zbulk.toml in this directory
    hint: name a job file, as in `zbulk check jobs/crm.toml`, or give --module and --csv
    exit 2
    ");
    insta::assert_snapshot!(bench.run("check jobs/none.toml").failure(), @r"
    error: jobs/none.toml: no such file
    hint: name a job file, as in `zbulk check jobs/crm.toml`
    exit 2
    ");
    insta::assert_snapshot!(bench.run("status").failure(), @r"
    error: there is no job file: no zbulk.toml in this directory
    hint: name a job file, as in `zbulk check jobs/crm.toml`, or give --module and --csv, or the output directory with --out
    exit 2
    ");
}

#[test]
fn all_that_a_run_lacks_is_told_at_once() {
    let bench = Workbench::new().file("zbulk.toml", PLAIN);
    insta::assert_snapshot!(bench.run("run --level 11 --upload-url http://example.com/crm/v2/upload").failure(), @r"
    error: zbulk.toml:3:7: there is no file contacts.csv
    hint: paths in a job file are relative to the job file

    error: `--level 11` must be a whole number from 0 to 9

    error: there is no organisation to send to
    hint: give its zgid with --org, as ZBULK_ORG, or as org under [target] in the job file;
          `zbulk auth check` shows it; to rehearse without one, add --sandbox

    error: there are no credentials for Zoho
    hint: set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN in the environment, or ZOHO_ACCESS_TOKEN,
          or name a file of mode 0600 with --credentials; to rehearse without any, add --sandbox

    error: `--upload-url` is refused
      caused by: upload URL `http://example.com/crm/v2/upload` is plain http to a host that is not loopback
    hint: use https: the request holds a token
    exit 2
    ");
    assert_eq!(bench.files(), ["zbulk.toml"], "nothing is left behind");
}

#[test]
fn a_rehearsal_needs_neither_organisation_nor_credentials() {
    let told = bench().run("run --sandbox --level 11");
    assert_eq!(told.code, 2);
    assert!(!told.err.contains("credentials") && !told.err.contains("organisation"), "{}", told.err);
}

#[test]
fn every_bound_of_every_setting_is_told_with_the_place_of_the_value() {
    let flags = "--chunk-records 25001 --max-archive-bytes 27MB --max-csv-bytes 0 --max-children-per-parent 0 \
                 --level 10 --memory 1M --threads many --concurrency 26 --starts-per-second -1 --bwlimit 1 \
                 --max-wait 8d --api-version 2 --org 1/2 --out none/there";
    // clap would take `-1` for a flag.
    let flags = flags.replace("--starts-per-second -1", "--starts-per-second=-1");
    insta::assert_snapshot!(bench().run(&format!("run --sandbox {flags}")).failure(), @r"
    error: the output directory none/there cannot be created: none is no directory
    hint: mkdir -p none

    error: `--chunk-records 25001` must be a whole number from 1 to 25,000

    error: `--max-archive-bytes 27MB` must be a size from 1 to 26,214,400 bytes, as in 25MB (decimal) or 25MiB (binary)

    error: `--max-csv-bytes 0` must be a size from 1 to 4,294,967,295 bytes, as in 25MB (decimal) or 25MiB (binary), or none

    error: `--max-children-per-parent 0` must be a whole number from 1 to 25,000, or none

    error: `--level 10` must be a whole number from 0 to 9

    error: `--threads many` must be a whole number from 0 to 1,024

    error: `--memory 1M` must be a size from 16,777,216 to 1,099,511,627,776 bytes, as in 25MB (decimal) or 25MiB (binary)

    error: `--concurrency 26` must be a whole number from 1 to 25

    error: `--starts-per-second -1` must be a number from 0 (no limit) to 1,000, as in 5 or 0.5

    error: `--bwlimit 1` must be a rate of at least 1,024 bytes a second, as in 2MB (bytes) or 50Mbit (bits), or none

    error: `--max-wait 8d` must be a duration of at most 7d, as in 90s, 30m or 1h30m
    exit 2
    ");
    insta::assert_snapshot!(bench().run("run --org 1/2 --api-version 2").failure(), @r"
    error: `--api-version 2` must be a version as in v2, v2.1 or v8

    error: `--org 1/2` must be the organisation's zgid: letters and digits only

    error: there are no credentials for Zoho
    hint: set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN in the environment, or ZOHO_ACCESS_TOKEN,
          or name a file of mode 0600 with --credentials; to rehearse without any, add --sandbox
    exit 2
    ");
    insta::assert_snapshot!(bench().run("plan --bandwidth slow").failure(), @r"
    error: `--bandwidth slow` must be a rate of at least 1,024 bytes a second, as in 2MB (bytes) or 50Mbit (bits), or none
    exit 2
    ");
    insta::assert_snapshot!(bench().env("ZBULK_LEVEL", "10").env("ZBULK_REJECTS", "ignore").run("check").failure(), @r"
    error: `ZBULK_LEVEL=10` must be a whole number from 0 to 9

    error: `ZBULK_REJECTS=ignore` must be one of stop, set-aside
    exit 2
    ");
    let limits =
        format!("{PLAIN}[limits]\nchunk_records = 0\nmax_csv_bytes = \"lots\"\n[pack]\nlevel = 9.5\n");
    insta::assert_snapshot!(bench().file("zbulk.toml", limits).run("check").failure(), @r"
    error: zbulk.toml:5:17: `limits.chunk_records = 0` must be a whole number from 1 to 25,000

    error: zbulk.toml:6:17: `limits.max_csv_bytes = lots` must be a size from 1 to 4,294,967,295 bytes, as in 25MB (decimal) or 25MiB (binary), or none

    error: zbulk.toml:8:9: `pack.level = 9.5` must be a whole number from 0 to 9
    exit 2
    ");
}

#[test]
fn a_url_beside_the_sandbox_is_refused() {
    insta::assert_snapshot!(bench().run("run --sandbox --upload-url http://127.0.0.1:1/crm/v2/upload").failure(), @r"
    error: `--upload-url` and `--sandbox` are both given
    hint: the sandbox has its own address: leave one of the two out
    exit 2
    ");
}

#[test]
fn both_ends_of_every_bound_are_taken() {
    let bench = bench();
    for (flag, values) in [
        ("chunk-records", ["1", "25_000"]),
        ("max-archive-bytes", ["1kB", "25MiB"]),
        ("max-csv-bytes", ["1000", "none"]),
        ("max-children-per-parent", ["1", "none"]),
        ("level", ["0", "9"]),
        ("memory", ["16M", "1T"]),
        ("threads", ["0", "7"]),
        ("rejects", ["stop", "set-aside"]),
    ] {
        for value in values {
            let told = bench.run(&format!("check --quiet --{flag} {value}"));
            assert_eq!((told.code, told.err.as_str()), (0, ""), "--{flag} {value}");
        }
    }
}

#[test]
fn paths_that_name_no_file_are_told_with_the_place_that_names_them() {
    let job = "[[import]]\nmodule = 'A'\ncsv = 'none.csv'\nkey = 'k'\n\
               [[import.child]]\nkind = 'subform'\nmodule = 'B'\ncsv = 'dir'\nparent_key = 'p'\n\
               [[import]]\nmodule = 'C'\ncsv = 'pipe'\n";
    let bench = Workbench::new().file("jobs/x.toml", job).file("jobs/dir/keep", "");
    let made = std::process::Command::new("mkfifo").arg(bench.path("jobs/pipe")).status().unwrap();
    assert!(made.success());
    insta::assert_snapshot!(bench.run("check jobs/x.toml").failure(), @r"
    error: jobs/x.toml:3:7: there is no file jobs/none.csv
    hint: paths in a job file are relative to the job file

    error: jobs/x.toml:8:7: jobs/dir is a directory
    hint: name the CSV file in it; several files are several [[import]]s of a job file

    error: jobs/x.toml:12:7: jobs/pipe is not a regular file
    hint: write it to a file, or pipe it in and name the CSV `-`
    exit 2
    ");
    insta::assert_snapshot!(bench.run("check --module Contacts --csv none.csv").failure(), @r"
    error: `--csv`: there is no file none.csv
    hint: check the path
    exit 2
    ");
    insta::assert_snapshot!(bench.run("check --module 1x --csv jobs/x.toml").failure(), @r"
    error: `--module 1x` must be a module's API name: a letter, then letters, digits and underscores
    exit 2
    ");
    insta::assert_snapshot!(bench.run("check jobs").failure(), @r"
    error: jobs: not a regular file
    hint: name a job file, as in `zbulk check jobs/crm.toml`
    exit 2
    ");
}

#[test]
fn a_missing_column_is_told_with_the_nearest_one() {
    let job = "[[import]]\nmodule = 'Contacts'\ncsv = 'contacts.csv'\nkey = 'LegacyID'\n\
               [[import]]\nmodule = 'Deals'\ncsv = 'contacts.csv'\nkey = 'zzz'\n";
    insta::assert_snapshot!(bench().file("zbulk.toml", job).run("check").failure(), @r"
    error: contacts.csv:1: there is no column `LegacyID`
    hint: did you mean `Legacy_ID`?

    error: contacts.csv:1: there is no column `zzz`
    hint: the columns are `Legacy_ID`, `Last_Name`
    exit 2
    ");
}

#[test]
fn the_output_directory_is_looked_at_before_any_work() {
    let bench = bench().file("taken", "");
    insta::assert_snapshot!(bench.run("pack --out taken").failure(), @r"
    error: the output directory taken is a file
    hint: remove the file, or name another directory with --out
    exit 2
    ");
    insta::assert_snapshot!(bench.run("status").failure(), @r"
    error: there is no output directory zbulk.zbulk
    hint: `zbulk run` makes it; name another one with --out
    exit 2
    ");
    std::fs::create_dir(bench.path("zbulk.sandbox.zbulk")).unwrap();
    insta::assert_snapshot!(bench.run("verify").failure(), @r"
    error: there is no output directory zbulk.zbulk
    hint: `zbulk pack` makes it; name another one with --out; a rehearsal is there: add --sandbox
    exit 2
    ");
}

#[test]
fn a_flag_beats_the_environment_beats_the_job_file_beats_the_user_file() {
    let chunks = |bench: &Workbench, flags: &str| {
        let told = bench.run(&format!("plan --json --quiet {flags}"));
        let plan: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        plan["totals"]["chunks"].as_u64().unwrap()
    };
    let csv = format!("N\n{}", "x\n".repeat(60));
    let plain = || Workbench::new().file("zbulk.toml", PLAIN).file("contacts.csv", &csv);
    let user =
        |bench: Workbench| bench.private_file(".config/zbulk/config.toml", "[limits]\nchunk_records = 10\n");
    let job = |bench: Workbench| bench.file("zbulk.toml", format!("{PLAIN}[limits]\nchunk_records = 12\n"));
    assert_eq!(chunks(&plain(), ""), 1);
    assert_eq!(chunks(&user(plain()), ""), 6);
    assert_eq!(chunks(&job(user(plain())), ""), 5);
    let with_variable = job(user(plain())).env("ZBULK_CHUNK_RECORDS", "15");
    assert_eq!(chunks(&with_variable, ""), 4);
    assert_eq!(chunks(&with_variable, "--chunk-records 20"), 3);
}

#[test]
fn a_mistyped_variable_is_warned_of() {
    let told = bench().env("ZBULK_CONCURENCY", "1").run("check");
    assert_eq!(told.code, 0);
    assert_eq!(
        told.err,
        "warning: `ZBULK_CONCURENCY` in the environment means nothing to zbulk; did you mean `ZBULK_CONCURRENCY`?\n"
    );
}

#[test]
fn a_user_file_that_others_can_change_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = bench().file(".config/zbulk/config.toml", "[target]\ndc = 'eu'\n");
    let path = bench.path(".config/zbulk/config.toml");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    insta::assert_snapshot!(bench.run("check").failure(), @r#"
    error: HERE/.config/zbulk/config.toml: has mode 0666: others than its owner may change it
    hint: chmod go-w HERE/.config/zbulk/config.toml; chown "$USER" HERE/.config/zbulk/config.toml
    exit 2
    "#);
}

#[test]
fn mistakes_in_the_user_file_are_told_with_their_place() {
    let user = "[target]\nuplod_url = 'x'\n[[import]]\nmodule = 'x'\n";
    let bench = bench().private_file("user.toml", user);
    insta::assert_snapshot!(bench.run("run --sandbox --config user.toml").failure(), @r"
    error: user.toml:2:1: unknown key `uplod_url` in [target]
    hint: did you mean `upload_url`?

    error: user.toml:3:3: unknown key `import`
    hint: known here: `credentials`, `display`, `limits`, `pack`, `rejects`, `target`, `upload`
    exit 2
    ");
    insta::assert_snapshot!(bench.run("auth check --config none.toml").failure(), @r"
    error: none.toml: no such file

    error: there are no credentials for Zoho
    hint: set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN in the environment, or ZOHO_ACCESS_TOKEN,
          or name a file of mode 0600 with --credentials; to rehearse without any, add --sandbox
    exit 2
    ");
}

#[test]
fn a_name_that_leaves_its_directory_is_refused() {
    let bench = bench().file("zbulk.toml", format!("name = \"../../x\"\n{PLAIN}"));
    insta::assert_snapshot!(bench.run("pack").failure(), @r#"
    error: zbulk.toml:1:8: `name = "../../x"` must begin with a letter or digit and hold letters, digits, `-`, `_`, `.` and spaces only, 100 bytes at most
    exit 2
    "#);
    let stem = Workbench::new().file("my.sandbox.toml", PLAIN).file("contacts.csv", CSV);
    insta::assert_snapshot!(stem.run("pack my.sandbox.toml").failure(), @r#"
    error: my.sandbox.toml: the job has no name, and its file's stem `my.sandbox` must not end in `.sandbox`: that is the directory of rehearsals
    hint: name = "…" at the top of the job file
    exit 2
    "#);
}

#[test]
fn a_file_of_garbage_is_refused_with_twenty_problems_at_most() {
    let garbage = (0..1_000).map(|i| format!("k{i} = 1")).collect::<Vec<_>>().join("\n");
    let told = bench().file("zbulk.toml", garbage).run("check");
    assert_eq!(told.code, 2);
    assert_eq!(told.err.matches("error:").count(), 21);
    assert!(told.err.contains("error: 981 more problems of this kind"), "{}", told.err);
}

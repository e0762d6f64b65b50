//! `zbulk auth check` against the sandbox: what is there and what is missing.

use crate::sandbox::Running;
use crate::workbench::Workbench;

fn urls(sandbox: &Running) -> String {
    format!("--accounts-url {} --api-url {}", sandbox.text("accounts_url"), sandbox.text("api_url"))
}

fn with_credentials(sandbox: &Running) -> Workbench {
    Workbench::new()
        .env("ZOHO_CLIENT_ID", &sandbox.text("client_id"))
        .env("ZOHO_CLIENT_SECRET", &sandbox.text("client_secret"))
        .env("ZOHO_REFRESH_TOKEN", &sandbox.text("refresh_token"))
}

#[test]
fn good_credentials_show_token_scope_and_organisation() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let bench = with_credentials(&sandbox);
    let told = bench.run(&format!("auth check {} --org {}", urls(&sandbox), sandbox.text("org")));
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{}", told.out);
    insta::assert_snapshot!(told.out, @r"
    what                 found
    data centre          us
    token                from the refresh token, good for 3599 s
    scope                ZohoFiles.files.ALL,ZohoCRM.org.READ,ZohoCRM.bulk.ALL
    organisation (zgid)  60041234567
    organisation type    sandbox
    edition              enterprise
    ");
    for secret in ["client_id", "client_secret", "refresh_token"] {
        assert!(!told.out.contains(&sandbox.text(secret)));
    }
}

#[test]
fn json_holds_the_same_for_programs() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let told = with_credentials(&sandbox).run(&format!("auth check --json {}", urls(&sandbox)));
    assert_eq!(told.code, 0, "{}", told.err);
    let found: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found["org"], sandbox.announcement["org"]);
    assert_eq!(found["missing"], serde_json::json!([]));
}

#[test]
fn another_organisation_than_the_token_s_is_told() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let told = with_credentials(&sandbox).run(&format!("auth check {} --org 1", urls(&sandbox)));
    assert_eq!(told.code, 4, "{}", told.out);
    assert!(told.err.starts_with("error: "), "{}", told.err);
}

#[test]
fn credentials_from_a_file_work_as_those_from_the_environment() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let text = ["client_id", "client_secret", "refresh_token"]
        .map(|key| format!("{key} = \"{}\"\n", sandbox.text(key)))
        .concat();
    let bench = Workbench::new().private_file("secrets/zoho.toml", &text).private_file(
        ".config/zbulk/config.toml",
        &format!(
            "[target]\naccounts_url = \"{}\"\napi_url = \"{}\"\n[credentials]\nfile = \"../../secrets/zoho.toml\"\n",
            sandbox.text("accounts_url"),
            sandbox.text("api_url")
        ),
    );
    let told = bench.run("auth check");
    assert_eq!(told.code, 0, "{}", told.err);
}

#[test]
fn a_refresh_token_that_is_not_taken_ends_with_4() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let bench = with_credentials(&sandbox).env("ZOHO_REFRESH_TOKEN", "1000.canary");
    let told = bench.run(&format!("auth check {}", urls(&sandbox)));
    assert_eq!(told.code, 4, "{}", told.err);
    assert!(told.err.contains("hint: "), "{}", told.err);
    assert!(!told.err.contains("canary"));
}

#[test]
fn a_token_command_is_asked_and_what_it_prints_is_not_shown() {
    let home = Workbench::new();
    let sandbox = Running::start(&home, &[]);
    let bench = Workbench::new()
        .env("ZBULK_TOKEN_COMMAND", "echo 1000.canary; : > asked")
        .env("PATH", "/usr/bin:/bin");
    let told = bench.run(&format!("auth check {}", urls(&sandbox)));
    assert_eq!(told.code, 4, "{}", told.err);
    assert_eq!(bench.files(), ["asked"]);
    assert!(!told.out.contains("canary") && !told.err.contains("canary"), "{} {}", told.out, told.err);
}

#[test]
fn without_credentials_the_ways_to_give_them_are_told() {
    insta::assert_snapshot!(Workbench::new().run("auth check").failure(), @r"
    error: there are no credentials for Zoho
    hint: set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN in the environment, or ZOHO_ACCESS_TOKEN,
          or name a file of mode 0600 with --credentials; to rehearse without any, add --sandbox
    exit 2
    ");
}

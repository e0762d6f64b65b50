//! No secret is ever printed: canaries stand in every place that a secret may come from, and nowhere in what is told.

use std::os::unix::fs::PermissionsExt as _;

use crate::workbench::{Told, Workbench};

const PLAIN: &str = "[[import]]\nmodule = \"Contacts\"\ncsv = \"contacts.csv\"\n";

fn bench() -> Workbench {
    Workbench::new().file("zbulk.toml", PLAIN).file("contacts.csv", "A\n1\n")
}

fn assert_silent(told: &Told) {
    for text in [&told.out, &told.err] {
        assert!(!text.to_lowercase().contains("canary"), "{text}");
    }
}

#[test]
fn secrets_in_the_environment_are_not_printed() {
    let bench = bench()
        .env("ZOHO_CLIENT_ID", "1000.canary-id")
        .env("ZOHO_CLIENT_SECRET", "canary-secret")
        .env("ZOHO_REFRESH_TOKEN", "1000.canary-refresh")
        .env("ZOHO_ACCESS_TOKEN", "1000.canary-access");
    for arguments in [
        "check -vvv",
        "plan -vvv",
        "run -vvv --level 77",
        "auth check -vvv --api-url http://127.0.0.1:1 --accounts-url http://127.0.0.1:1 --org canary/x",
        "upload -vvv",
    ] {
        // The organisation there is no secret, but it does not have to be repeated either where it is well.
        let arguments = arguments.replace("canary/x", "1");
        assert_silent(&bench.run(&arguments));
    }
}

#[test]
fn broken_secrets_in_the_environment_are_named_and_not_shown() {
    let bench = bench().env("ZOHO_ACCESS_TOKEN", "canary\r\nX-Evil: 1").env("ZOHO_CLIENT_ID", "canary");
    let told = bench.run("auth check");
    assert_silent(&told);
    insta::assert_snapshot!(told.failure(), @r"
    error: `ZOHO_ACCESS_TOKEN` is empty, too long, or holds a character that no token or id has
    exit 2
    ");
    let half = Workbench::new().env("ZOHO_CLIENT_ID", "canary").run("auth check");
    assert_silent(&half);
    insta::assert_snapshot!(half.failure(), @r"
    error: the environment gives some credentials, but not `ZOHO_CLIENT_SECRET` and `ZOHO_REFRESH_TOKEN`
    hint: a refresh needs client id, client secret and refresh token; an access token is enough alone
    exit 2
    ");
}

#[test]
fn a_credentials_file_is_refused_without_a_word_of_what_is_in_it() {
    let bench = bench()
        .private_file("bare", "1000.canary.canary\n")
        .private_file("key", "canary = 'x'\naccess_token = 'canary canary'\n")
        .private_file("half", "client_id = 'canary'\n")
        .file("wide", "access_token = 'canary'\n");
    std::fs::set_permissions(bench.path("wide"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut all = String::new();
    for name in ["bare", "key", "half", "wide", "none", "."] {
        let told = bench.run(&format!("auth check --credentials {name}"));
        assert_silent(&told);
        assert_eq!(told.code, 2);
        all.push_str(&told.failure());
        all.push_str("\n\n");
    }
    insta::assert_snapshot!(all, @r#"
    error: bare:1:19: is not valid TOML
    hint: write each as name = "value": client_id, client_secret and refresh_token, or access_token
    exit 2

    error: key:1:1: unknown key
    hint: known here: `access_token`, `client_id`, `client_secret`, `refresh_token`

    error: key:2:16: `access_token` is empty, too long, or holds a character that no token or id has
    exit 2

    error: half gives some credentials, but not `client_secret` and `refresh_token`
    hint: a refresh needs client id, client secret and refresh token; an access token is enough alone
    exit 2

    error: wide: has mode 0644: others than its owner may use it
    hint: chmod 600 wide, and think of the secrets in it as known
    exit 2

    error: none: no such file
    hint: name an existing credentials file: TOML with client_id, client_secret and refresh_token, or access_token
    exit 2

    error: .: not a regular file
    exit 2
    "#);
}

#[test]
fn a_url_with_a_password_is_refused_without_it() {
    let told = bench()
        .env("ZOHO_ACCESS_TOKEN", "canary")
        .run("run --org 1 --upload-url https://canary:canary@x.example/y");
    assert_silent(&told);
    insta::assert_snapshot!(told.failure(), @r"
    error: `--upload-url` is refused
      caused by: upload URL holds a user name or password
    hint: credentials come from the environment or a file, never from a URL
    exit 2
    ");
}

#[test]
fn two_places_for_credentials_in_one_file_are_refused() {
    let user = "[credentials]\nfile = 'c.toml'\ntoken_command = 'echo canary'\n";
    let told = bench().private_file(".config/zbulk/config.toml", user).run("auth check");
    assert_silent(&told);
    insta::assert_snapshot!(told.failure(), @r"
    error: HERE/.config/zbulk/config.toml:2:8: `credentials.file` and HERE/.config/zbulk/config.toml:3:17: `credentials.token_command` are both given
    hint: remove one of the two
    exit 2
    ");
}

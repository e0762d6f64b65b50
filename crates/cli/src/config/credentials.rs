//! Secrets: where they come from and that they go nowhere else. No message of this file quotes a value.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::environment::Environment;
use super::setting::{Given, Key, Layers, Origin};
use super::toml_file::TomlFile;
use crate::failure::Problem;

/// The largest credentials file that is read.
const MAX_BYTES: u64 = 64 << 10;

/// The secrets' names in the file, and in the environment after `ZOHO_` in upper case.
const NAMES: [&str; 4] = ["client_id", "client_secret", "refresh_token", "access_token"];

/// What tokens come from. Debug shows none of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// Used until the server no longer takes it.
    access_token: Option<SecretString>,
    /// Client id, client secret, refresh token.
    refresh: Option<[SecretString; 3]>,
    /// Prints an access token. It may hold a secret itself, so it is treated as one.
    token_command: Option<SecretString>,
}

impl Credentials {
    /// The same for the crate that uses them.
    pub(crate) fn into_upload(self) -> upload::Credentials {
        let refresh = self.refresh.map(|[client_id, client_secret, refresh_token]| {
            upload::RefreshCredentials { client_id, client_secret, refresh_token }
        });
        let token_command = self.token_command.map(|command| command.expose_secret().to_owned());
        upload::Credentials { access_token: self.access_token, refresh, token_command }
    }

    /// Those of the first place that gives any: `--credentials`, the environment's `ZOHO_*`, `ZBULK_CREDENTIALS`,
    /// `ZBULK_TOKEN_COMMAND`, the user file. Places are never mixed: half of one account and half of another would be
    /// worse than none.
    ///
    /// # Errors
    /// All problems of that place, or that there is none.
    pub(crate) fn find(environment: &Environment, layers: &Layers) -> Result<Credentials, Vec<Problem>> {
        if let Some(given) = layers.flags.get(&Key::Credentials) {
            return from_file(given, environment);
        }
        if NAMES.iter().any(|name| environment.has(&variable(name))) {
            return from_environment(environment);
        }
        for layer in [&layers.environment, &layers.user] {
            match (layer.get(&Key::Credentials), layer.get(&Key::TokenCommand)) {
                (Some(file), Some(command)) => {
                    let what = format!("{} and {}", file.origin, command.origin);
                    return Err(vec![
                        Problem::message(format!("{what} are both given")).hint("remove one of the two"),
                    ]);
                }
                (Some(given), None) => return from_file(given, environment),
                (None, Some(given)) => {
                    let token_command = Some(SecretString::from(given.text.clone()));
                    return Ok(Credentials { token_command, ..Credentials::default() });
                }
                (None, None) => {}
            }
        }
        Err(vec![Problem::message("there are no credentials for Zoho").hint(
            "set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN in the environment, or ZOHO_ACCESS_TOKEN,\n\
             or name a file of mode 0600 with --credentials; to rehearse without any, add --sandbox",
        )])
    }
}

fn variable(name: &str) -> String {
    format!("ZOHO_{}", name.to_ascii_uppercase())
}

fn from_environment(environment: &Environment) -> Result<Credentials, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut secrets = [const { None }; 4];
    for (name, secret) in NAMES.iter().zip(&mut secrets) {
        let variable = variable(name);
        match environment.text(&variable) {
            Ok(None) => {}
            Ok(Some(text)) => match checked(text) {
                Some(text) => *secret = Some(text),
                None => problems.push(Problem::message(format!("`{variable}` {NOT_A_SECRET}"))),
            },
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    complete(secrets, "the environment", |name| format!("`{}`", variable(name)))
        .map_err(|problem| vec![problem])
}

/// What is said of a value that no header could carry.
const NOT_A_SECRET: &str = "is empty, too long, or holds a character that no token or id has";

/// A value without the spaces around it, if it is one that may stand in a header or form.
fn checked(text: &str) -> Option<SecretString> {
    let text = text.trim();
    let fits = (1..=4_096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| SecretString::from(text))
}

/// Three of the four make a refresh; the fourth is an access token.
fn complete(
    secrets: [Option<SecretString>; 4],
    place: &str,
    show: impl Fn(&str) -> String,
) -> Result<Credentials, Problem> {
    let missing: Vec<String> = NAMES
        .iter()
        .zip(&secrets)
        .take(3)
        .filter(|(_, secret)| secret.is_none())
        .map(|(name, _)| show(name))
        .collect();
    let [client_id, client_secret, refresh_token, access_token] = secrets;
    let refresh = match (client_id, client_secret, refresh_token) {
        (Some(id), Some(secret), Some(token)) => Some([id, secret, token]),
        (None, None, None) if access_token.is_some() => None,
        _ => {
            let problem = format!("{place} gives some credentials, but not {}", missing.join(" and "));
            let hint =
                "a refresh needs client id, client secret and refresh token; an access token is enough alone";
            return Err(Problem::message(problem).hint(hint));
        }
    };
    Ok(Credentials { access_token, refresh, token_command: None })
}

fn from_file(given: &Given, environment: &Environment) -> Result<Credentials, Vec<Problem>> {
    let path = environment.expand(&given.text);
    let path = match (&given.origin, path.is_relative()) {
        // A path in a file is relative to that file.
        (Origin::File { place, .. }, true) => place.path.with_file_name(path),
        _ => path,
    };
    let text = read_private(&path).map_err(|problem| vec![problem])?;
    parse_file(&path, text.expose_secret())
}

fn parse_file(path: &Path, text: &str) -> Result<Credentials, Vec<Problem>> {
    let (mut file, mut top) = TomlFile::parse(path, text, true).map_err(|problems| {
        let hint =
            "write each as name = \"value\": client_id, client_secret and refresh_token, or access_token";
        problems.into_iter().map(|problem| problem.hint(hint)).collect::<Vec<_>>()
    })?;
    let mut secrets = [const { None }; 4];
    for (name, secret) in NAMES.iter().zip(&mut secrets) {
        if let Some(text) = top.text(&mut file, name) {
            match checked(&text.text) {
                Some(text) => *secret = Some(text),
                None => file.problem(text.at, format!("`{name}` {NOT_A_SECRET}")),
            }
        }
    }
    top.finish(&mut file);
    let problems = file.finish();
    if !problems.is_empty() {
        return Err(problems);
    }
    complete(secrets, &path.display().to_string(), |name| format!("`{name}`"))
        .map_err(|problem| vec![problem])
}

/// The text of a file that only its owner, who is this user, can read. A link that belongs to somebody else is not
/// followed.
fn read_private(path: &Path) -> Result<SecretString, Problem> {
    let shown = path.display();
    let fault = |what: String| Problem::message(format!("{shown}: {what}"));
    let failed = |error: std::io::Error| {
        match error.kind() {
        std::io::ErrorKind::NotFound => fault("no such file".to_owned()).hint(
            "name an existing credentials file: TOML with client_id, client_secret and refresh_token, or access_token",
        ),
        _ => Problem::new(anyhow::Error::new(error).context(format!("cannot read {shown}"))),
    }
    };
    let link = std::fs::symlink_metadata(path).map_err(failed)?;
    if link.is_symlink() && !is_ours(link.uid()) {
        return Err(
            fault(format!("is a link that belongs to user {}", link.uid())).hint("name the file itself")
        );
    }
    // Before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(fault("not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    // Of the file that was opened, whatever the path names by now.
    let metadata = file.metadata().map_err(failed)?;
    if !is_ours(metadata.uid()) {
        return Err(fault(format!("belongs to user {}, who could read and change it", metadata.uid()))
            .hint(format!("chown \"$USER\" {shown}")));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = fault(format!("has mode {mode:04o}: others than its owner may use it"));
        return Err(problem.hint(format!("chmod 600 {shown}, and think of the secrets in it as known")));
    }
    let mut text = String::new();
    match file.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > MAX_BYTES => Err(fault("too large for a credentials file".to_owned())),
        Ok(_) => Ok(SecretString::from(text)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(fault("not UTF-8".to_owned())),
        Err(error) => Err(failed(error)),
    }
}

/// Whether a file's owner is this user or root.
fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Says how others could change a file, if they can.
pub(crate) fn is_writable_by_others(metadata: &Metadata) -> Option<String> {
    if !is_ours(metadata.uid()) {
        return Some(format!("belongs to user {}, who could change it", metadata.uid()));
    }
    let mode = metadata.mode() & 0o777;
    (mode & 0o022 != 0).then(|| format!("has mode {mode:04o}: others than its owner may change it"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::setting::Layer;
    use super::*;

    const CANARY: &str = "1000.canary";

    fn problems(result: Result<Credentials, Vec<Problem>>) -> String {
        let problems = result.unwrap_err();
        problems.iter().flat_map(Problem::layers).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn no_problem_with_a_credentials_file_quotes_it() {
        for text in [
            CANARY.to_owned(),
            format!("{CANARY} = 1"),
            format!("\"{CANARY}\" = 1"),
            format!("refresh_token = {CANARY}"),
            format!("refresh_token = \"{CANARY}\n"),
            format!("refresh_token = \"{CANARY} x\""),
            format!("refresh_token = [\"{CANARY}\"]"),
            format!("refresh_token = \"{CANARY}\""),
            format!("[{CANARY}]"),
            format!("access_token = \"a\"\naccess_token = \"{CANARY}\""),
        ] {
            let told = problems(parse_file(Path::new("credentials.toml"), &text));
            assert!(!told.contains("canary"), "{told}");
            assert!(told.starts_with("credentials.toml"), "{told}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("client_id = '{CANARY}'\nclient_secret = '{CANARY}'\nrefresh_token = '{CANARY}'");
        let credentials = parse_file(Path::new("x"), &text).unwrap();
        assert!(!format!("{credentials:?}").contains("canary"));
        let command = Credentials { token_command: Some(CANARY.into()), ..Credentials::default() };
        assert!(!format!("{command:?}").contains("canary"));
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.toml");
        std::fs::write(&path, "access_token = \"1000.x\"").unwrap();
        for (mode, taken) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false), (0o601, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), taken, "{mode:o}");
        }
    }

    #[test]
    fn a_link_of_ones_own_is_followed_to_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&path, "access_token = \"1000.x\"").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_private(&link).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_private(&link).is_err());
    }

    #[test]
    fn the_first_place_that_gives_anything_is_used_and_places_are_not_mixed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("access_token = \"{name}\"")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let layer = |key, text: &str| Layer::from([(key, Given::flag("--x", text))]);
        let zoho = Environment::new([("ZOHO_ACCESS_TOKEN".into(), "variable".into())]);
        let mut layers = Layers {
            flags: layer(Key::Credentials, &file("flag")),
            environment: layer(Key::Credentials, &file("named")),
            user: layer(Key::TokenCommand, "command"),
            ..Layers::default()
        };
        let found = |environment: &Environment, layers: &Layers| {
            let found = Credentials::find(environment, layers).unwrap();
            assert!(found.access_token.is_none() || found.token_command.is_none());
            found.access_token.or(found.token_command).unwrap().expose_secret().to_owned()
        };
        assert_eq!(found(&zoho, &layers), "flag");
        layers.flags.clear();
        assert_eq!(found(&zoho, &layers), "variable");
        assert_eq!(found(&Environment::default(), &layers), "named");
        layers.environment.clear();
        assert_eq!(found(&Environment::default(), &layers), "command");
        layers.user.clear();
        assert!(Credentials::find(&Environment::default(), &layers).is_err());
    }

    #[test]
    fn what_belongs_to_others_is_not_read() {
        // Only root can give files away.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&path, "access_token = \"1000.x\"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
        let told = |path: &Path| read_private(path).unwrap_err().layers().next().unwrap();
        assert!(told(&link).ends_with("is a link that belongs to user 12345"), "{}", told(&link));
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        assert!(told(&path).contains("belongs to user 12345"), "{}", told(&path));
    }

    #[test]
    fn a_secret_cannot_carry_a_line_end_into_a_header() {
        assert!(checked("1000.a\r\nX-Evil: 1").is_none());
        assert!(checked("").is_none());
        assert!(checked("é").is_none());
        assert_eq!(checked(" 1000.a\n").unwrap().expose_secret(), "1000.a");
    }
}

//! The environment, read once: only what zbulk knows is kept, and none of it is ever printed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::setting::{Given, Key, Layer, Origin, SETTINGS};
use super::toml_file::nearest;
use crate::failure::Problem;

/// The variables of the process that concern zbulk. A variable that is set to nothing counts as unset.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Environment {
        Environment::new(std::env::vars_os())
    }

    /// One made of the given variables.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| is_known_kind(name) && !value.is_empty())
            .collect();
        Environment { variables }
    }

    /// The text of a variable; `None` if it is unset, a problem if it is no UTF-8.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some(text) => Ok(Some(text)),
                None => Err(Problem::message(format!("`{name}` in the environment is not UTF-8"))),
            },
        }
    }

    /// Whether a variable is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// All settings given as `ZBULK_*`.
    pub(crate) fn layer(&self, problems: &mut Vec<Problem>) -> Layer {
        let mut layer = Layer::new();
        for setting in &SETTINGS {
            let variable = setting.variable();
            match self.text(&variable) {
                Ok(Some(text)) => {
                    let origin = Origin::Variable(variable);
                    layer.insert(setting.key, Given { text: text.to_owned(), origin });
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        layer
    }

    /// One note for each `ZBULK_*` variable that means nothing, with the nearest one that does.
    pub(crate) fn unknown_variables(&self) -> Vec<String> {
        let known: Vec<String> = SETTINGS.iter().map(super::setting::Setting::variable).collect();
        let unknown =
            self.variables.keys().filter(|name| name.starts_with("ZBULK_") && !known.contains(name));
        unknown
            .map(|name| match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => {
                    format!("`{name}` in the environment means nothing to zbulk; did you mean `{near}`?")
                }
                None => format!("`{name}` in the environment means nothing to zbulk"),
            })
            .collect()
    }

    /// The proxy for https and the hosts without one, as curl reads them: the lower-case name first.
    pub(crate) fn proxies(&self) -> Result<(Option<String>, Option<String>), Problem> {
        let first = |names: [&str; 4]| -> Result<Option<String>, Problem> {
            for name in names {
                if let Some(text) = self.text(name)? {
                    return Ok(Some(text.to_owned()));
                }
            }
            Ok(None)
        };
        let proxy = first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
        Ok((proxy, first(["no_proxy", "NO_PROXY", "", ""])?))
    }

    /// The user file's usual place: under `$XDG_CONFIG_HOME`, else under `~/.config`. `None` without a home.
    pub(crate) fn user_file(&self) -> Option<PathBuf> {
        // A relative path there is to be ignored (XDG Base Directory Specification, "Environment variables").
        let xdg = self.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        Some(xdg.or_else(|| Some(self.home()?.join(".config")))?.join("zbulk").join("config.toml"))
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// A path from flag, environment or user file, with a leading `~/` replaced by the home directory: shells do that
    /// for flags, and nobody for the other two.
    pub(crate) fn expand(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        }
    }

    /// `ZBULK_COLOR`, before it is known to be right.
    pub(crate) fn color(&self) -> Option<String> {
        self.variables.get(&Key::Color.setting().variable())?.to_str().map(str::to_owned)
    }

    /// Whether the user or the terminal wants no colours.
    pub(crate) fn wants_no_color(&self) -> bool {
        self.has("NO_COLOR") || self.variables.get("TERM").is_some_and(|term| term == OsStr::new("dumb"))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).map(PathBuf::from)
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

fn is_known_kind(name: &str) -> bool {
    const PLAIN: [&str; 10] = [
        "HOME",
        "XDG_CONFIG_HOME",
        "NO_COLOR",
        "TERM",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ];
    name.starts_with("ZBULK_") || name.starts_with("ZOHO_") || PLAIN.contains(&name)
}

/// What an unset `--config` and a set `ZBULK_CONFIG` lead to.
pub(crate) fn config_file<'l>(flags: &'l Layer, environment: &'l Layer) -> Option<&'l Given> {
    flags.get(&Key::Config).or_else(|| environment.get(&Key::Config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn debug_shows_no_value() {
        let debug =
            format!("{:?}", environment(&[("ZOHO_ACCESS_TOKEN", "canary-1"), ("ZBULK_ORG", "canary-2")]));
        assert_eq!(debug, r#"{"ZBULK_ORG", "ZOHO_ACCESS_TOKEN"}"#);
    }

    #[test]
    fn a_variable_set_to_nothing_is_unset() {
        assert!(!environment(&[("ZBULK_ORG", "")]).has("ZBULK_ORG"));
    }

    #[test]
    fn a_mistyped_variable_is_noticed() {
        let notes = environment(&[("ZBULK_CONCURENCY", "1"), ("ZBULK_LEVEL", "1"), ("ZBULK_QQQQQQ", "1")]);
        insta::assert_snapshot!(notes.unknown_variables().join("\n"), @r"
        `ZBULK_CONCURENCY` in the environment means nothing to zbulk; did you mean `ZBULK_CONCURRENCY`?
        `ZBULK_QQQQQQ` in the environment means nothing to zbulk
        ");
    }

    #[test]
    fn the_user_file_is_under_xdg_config_home_or_under_home() {
        let place =
            |variables: &[_]| environment(variables).user_file().map(|path| path.display().to_string());
        assert_eq!(place(&[]), None);
        assert_eq!(place(&[("HOME", "/h")]).as_deref(), Some("/h/.config/zbulk/config.toml"));
        assert_eq!(
            place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).as_deref(),
            Some("/x/zbulk/config.toml")
        );
        assert_eq!(
            place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).as_deref(),
            Some("/h/.config/zbulk/config.toml")
        );
    }
}

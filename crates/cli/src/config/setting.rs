//! The table of settings: what each is called as a flag, in the environment and in a file, and who may give it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::failure::Problem;

/// A setting that several places may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Dc,
    Org,
    ApiVersion,
    UploadUrl,
    AccountsUrl,
    ApiUrl,
    Credentials,
    TokenCommand,
    Concurrency,
    StartsPerSecond,
    Bwlimit,
    MaxWait,
    ChunkRecords,
    MaxArchiveBytes,
    MaxCsvBytes,
    MaxChildrenPerParent,
    Rejects,
    Level,
    Memory,
    Threads,
    KeepArchives,
    Out,
    Bandwidth,
    Progress,
    Color,
    Config,
}

/// Which files may give a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Job file and user file.
    Both,
    /// The user file only: a job file is data that strangers send.
    User,
    /// None.
    Neither,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: Key,
    /// As in `--chunk-records` and `ZBULK_CHUNK_RECORDS`, with underscores.
    pub(crate) name: &'static str,
    /// The table in a file; empty for the top.
    pub(crate) table: &'static str,
    /// The key in that table.
    pub(crate) entry: &'static str,
    pub(crate) files: Files,
}

const fn row(key: Key, name: &'static str, table: &'static str, files: Files) -> Setting {
    Setting { key, name, table, entry: name, files }
}

/// All settings.
pub(crate) const SETTINGS: [Setting; 26] = [
    row(Key::Dc, "dc", "target", Files::Both),
    row(Key::Org, "org", "target", Files::Both),
    row(Key::ApiVersion, "api_version", "target", Files::Both),
    row(Key::UploadUrl, "upload_url", "target", Files::User),
    row(Key::AccountsUrl, "accounts_url", "target", Files::User),
    row(Key::ApiUrl, "api_url", "target", Files::User),
    Setting {
        key: Key::Credentials,
        name: "credentials",
        table: "credentials",
        entry: "file",
        files: Files::User,
    },
    row(Key::TokenCommand, "token_command", "credentials", Files::User),
    row(Key::Concurrency, "concurrency", "upload", Files::Both),
    row(Key::StartsPerSecond, "starts_per_second", "upload", Files::Both),
    row(Key::Bwlimit, "bwlimit", "upload", Files::Both),
    row(Key::MaxWait, "max_wait", "upload", Files::Both),
    row(Key::ChunkRecords, "chunk_records", "limits", Files::Both),
    row(Key::MaxArchiveBytes, "max_archive_bytes", "limits", Files::Both),
    row(Key::MaxCsvBytes, "max_csv_bytes", "limits", Files::Both),
    row(Key::MaxChildrenPerParent, "max_children_per_parent", "limits", Files::Both),
    row(Key::Rejects, "rejects", "", Files::Both),
    row(Key::Level, "level", "pack", Files::Both),
    row(Key::Memory, "memory", "pack", Files::Both),
    row(Key::Threads, "threads", "pack", Files::Both),
    row(Key::KeepArchives, "keep_archives", "pack", Files::Both),
    row(Key::Out, "out", "", Files::Neither),
    row(Key::Bandwidth, "bandwidth", "", Files::Neither),
    row(Key::Progress, "progress", "display", Files::User),
    row(Key::Color, "color", "display", Files::User),
    row(Key::Config, "config", "", Files::Neither),
];

impl Setting {
    /// As in `--chunk-records`.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// As in `ZBULK_CHUNK_RECORDS`.
    pub(crate) fn variable(&self) -> String {
        format!("ZBULK_{}", self.name.to_ascii_uppercase())
    }
}

impl Key {
    /// Its row.
    pub(crate) fn setting(self) -> &'static Setting {
        SETTINGS.iter().find(|setting| setting.key == self).expect("invariant: every key has its row")
    }
}

/// A value with the place where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of this command.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A place in a file, and the key with its table.
    File { place: Place, key: String },
}

/// A place in a file: line and column are one-based, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl Given {
    pub(crate) fn flag(name: &str, text: impl Into<String>) -> Given {
        Given { text: text.into(), origin: Origin::Flag(name.to_owned()) }
    }

    /// A problem with this value; `what` begins with a verb.
    pub(crate) fn problem(&self, what: impl fmt::Display) -> Problem {
        Problem::message(format!("{self} {what}"))
    }
}

/// The place without the value, for values that may hold a secret.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) | Origin::Variable(name) => write!(f, "`{name}`"),
            Origin::File { place, key } => write!(f, "{place}: `{key}`"),
        }
    }
}

/// The place and the value: `` `--level 12` ``, `` `ZBULK_LEVEL=12` ``, `` zbulk.toml:9:9: `pack.level = 12` ``.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.origin {
            Origin::Flag(flag) => write!(f, "`{flag} {text}`"),
            Origin::Variable(variable) => write!(f, "`{variable}={text}`"),
            Origin::File { place, key } => write!(f, "{place}: `{key} = {text}`"),
        }
    }
}

/// The values that one place gives.
pub(crate) type Layer = BTreeMap<Key, Given>;

/// All places, highest precedence first.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) flags: Layer,
    pub(crate) environment: Layer,
    pub(crate) job: Layer,
    pub(crate) user: Layer,
}

impl Layers {
    /// The value that counts.
    pub(crate) fn get(&self, key: Key) -> Option<&Given> {
        [&self.flags, &self.environment, &self.job, &self.user].into_iter().find_map(|layer| layer.get(&key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_setting_has_one_row_and_names_of_its_own() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        for setting in &SETTINGS {
            assert_eq!(setting.key.setting().name, setting.name);
        }
    }

    proptest! {
        #[test]
        fn a_flag_beats_the_environment_beats_the_job_beats_the_user(places: [bool; 4], key in 0..SETTINGS.len()) {
            let key = SETTINGS[key].key;
            let layer = |place: usize| -> Layer {
                if places[place] { Layer::from([(key, Given::flag("--x", place.to_string()))]) } else { Layer::new() }
            };
            let layers = Layers { flags: layer(0), environment: layer(1), job: layer(2), user: layer(3) };
            let expected = places.iter().position(|&given| given).map(|place| place.to_string());
            prop_assert_eq!(layers.get(key).map(|given| given.text.clone()), expected);
        }
    }
}

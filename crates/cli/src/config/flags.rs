//! The flags as a layer of settings.

use std::path::Path;

use super::setting::{Given, Key, Layer};
use crate::args::{
    CredentialArgs, DirArgs, KeepArgs, LimitArgs, MachineArgs, PaceArgs, PlanArgs, ShowArgs, TargetArgs,
    UserArgs,
};

/// A group of flags that gives settings.
pub(crate) trait Flags {
    /// The settings of the group, typed or not.
    fn settings(&self) -> Vec<(Key, Option<String>)>;
}

/// All that the groups give.
pub(crate) fn layer(groups: &[&dyn Flags]) -> Layer {
    groups
        .iter()
        .flat_map(|group| group.settings())
        .filter_map(|(key, text)| Some((key, Given::flag(&key.setting().flag(), text?))))
        .collect()
}

/// Paths that are no UTF-8 keep their readable part, and name nothing then: the message shows them so.
fn text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

impl Flags for DirArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::Out, text(self.out.as_deref()))]
    }
}

impl Flags for KeepArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::KeepArchives, self.keep_archives.then(|| "true".to_owned()))]
    }
}

impl Flags for TargetArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![
            (Key::Dc, self.dc.clone()),
            (Key::Org, self.org.clone()),
            (Key::ApiVersion, self.api_version.clone()),
            (Key::UploadUrl, self.upload_url.clone()),
            (Key::AccountsUrl, self.accounts_url.clone()),
            (Key::ApiUrl, self.api_url.clone()),
        ]
    }
}

impl Flags for CredentialArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::Credentials, text(self.credentials.as_deref()))]
    }
}

impl Flags for UserArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::Config, text(self.config.as_deref()))]
    }
}

impl Flags for PaceArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![
            (Key::Concurrency, self.concurrency.clone()),
            (Key::StartsPerSecond, self.starts_per_second.clone()),
            (Key::Bwlimit, self.bwlimit.clone()),
            (Key::MaxWait, self.max_wait.clone()),
        ]
    }
}

impl Flags for LimitArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![
            (Key::ChunkRecords, self.chunk_records.clone()),
            (Key::MaxArchiveBytes, self.max_archive_bytes.clone()),
            (Key::MaxCsvBytes, self.max_csv_bytes.clone()),
            (Key::MaxChildrenPerParent, self.max_children_per_parent.clone()),
            (Key::Rejects, self.rejects.clone()),
        ]
    }
}

impl Flags for MachineArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![
            (Key::Level, self.level.clone()),
            (Key::Memory, self.memory.clone()),
            (Key::Threads, self.threads.clone()),
        ]
    }
}

impl Flags for ShowArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::Progress, self.progress.clone()), (Key::Color, self.color.clone())]
    }
}

impl Flags for PlanArgs {
    fn settings(&self) -> Vec<(Key, Option<String>)> {
        vec![(Key::Bandwidth, self.bandwidth.clone())]
    }
}

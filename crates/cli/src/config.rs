//! What a command means, resolved and validated: after this nobody asks flags, environment or files for a setting.
//!
//! Precedence, highest first: flag, environment (`ZBULK_*`), job file, user file. All problems are reported at once,
//! before any work.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;
use upload::DataCentre;

use crate::args::{Cli, CommandLine};
use crate::output::Paint;

mod credentials;
mod environment;
mod flags;
mod job_file;
mod parse;
mod resolve;
mod resolver;
mod setting;
mod toml_file;
mod user_file;

pub(crate) use credentials::Credentials;
pub(crate) use environment::Environment;
pub(crate) use resolve::resolve;

/// The flags of all settings, such as `--chunk-records`.
#[cfg(test)]
pub(crate) fn setting_flags() -> Vec<String> {
    setting::SETTINGS.iter().map(setting::Setting::flag).collect()
}

/// Whether errors in the configuration itself may be coloured, which must be known before there is one.
pub(crate) fn error_paint(cli: &Cli, environment: &Environment) -> Paint {
    let wanted = cli.command.color().map(str::to_owned).or_else(|| environment.color());
    let color = match wanted.as_deref() {
        Some("always") => true,
        Some("never") => false,
        _ => std::io::stderr().is_terminal() && !environment.wants_no_color(),
    };
    Paint(color)
}

/// A command with everything that it needs.
#[derive(Debug)]
pub(crate) enum Config {
    /// `zbulk run`
    Run(Run),
    /// `zbulk check`
    Check(Check),
    /// `zbulk plan`
    Plan(Plan),
    /// `zbulk pack`
    Pack(Pack),
    /// `zbulk upload`
    Upload(Upload),
    /// `zbulk status`
    Status(Status),
    /// `zbulk verify`
    Verify(Verify),
    /// `zbulk auth check`
    AuthCheck(AuthCheck),
    /// `zbulk sandbox`
    Sandbox(Sandbox),
    /// `zbulk schema manifest`
    ManifestSchema,
    /// `zbulk completions SHELL`
    Completions(Shell),
    /// `zbulk man`
    Man,
}

/// `zbulk run`: check, plan, pack, upload, manifest.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`dry_run` is what everybody calls it")]
pub(crate) struct Run {
    /// The job's name: that of the job file, else the file's stem, else the module.
    pub name: String,
    /// DIR, the output directory. Need not exist yet; its parent does.
    pub dir: PathBuf,
    /// What to prepare. `settings.spill_dir` is `dir`.
    pub job: prep::Job,
    /// Where archives go.
    pub destination: Destination,
    /// How fast.
    pub pace: Pace,
    /// Whether archives are kept under DIR/archives.
    pub keep_archives: bool,
    /// The same up to the network call, which is left out.
    pub dry_run: bool,
    /// Whether an older run in DIR is set aside.
    pub restart: bool,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk check`: every problem of the inputs; nothing sent, nothing left behind.
#[derive(Debug)]
pub(crate) struct Check {
    /// The job's name.
    pub name: String,
    /// What to prepare. `settings.spill_dir` is the system's temporary directory.
    pub job: prep::Job,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk plan`: chunks, records, bytes, jobs, credits, upload time.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The job's name.
    pub name: String,
    /// What to prepare. `settings.spill_dir` is the system's temporary directory.
    pub job: prep::Job,
    /// Bytes per second for the estimate of the upload time.
    pub bandwidth: Option<u64>,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk pack`: archives and a manifest without `file_id`s.
#[derive(Debug)]
pub(crate) struct Pack {
    /// The job's name.
    pub name: String,
    /// DIR, the output directory. Need not exist yet; its parent does.
    pub dir: PathBuf,
    /// What to prepare. `settings.spill_dir` is `dir`.
    pub job: prep::Job,
    /// Whether DIR is that of a rehearsal.
    pub sandbox: bool,
    /// Whether an older run in DIR is set aside.
    pub restart: bool,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk upload`: sends what `pack` made.
#[derive(Debug)]
pub(crate) struct Upload {
    /// DIR, which `zbulk pack` filled.
    pub dir: PathBuf,
    /// Where archives go.
    pub destination: Destination,
    /// How fast.
    pub pace: Pace,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk status`: where a run stands.
#[derive(Debug)]
pub(crate) struct Status {
    /// DIR.
    pub dir: PathBuf,
    /// How results are shown.
    pub output: Output,
}

/// `zbulk verify`: archives against journal, and against the inputs.
#[derive(Debug)]
pub(crate) struct Verify {
    /// DIR.
    pub dir: PathBuf,
    /// The job; `None` with `--out` and without a job file: then only archives and journal are compared.
    pub job: Option<prep::Job>,
    /// How results and progress are shown.
    pub output: Output,
}

/// `zbulk auth check`: what is there and what is missing.
#[derive(Debug)]
pub(crate) struct AuthCheck {
    /// The data centre, its URLs and the credentials. `org` is empty where none was given.
    pub zoho: Box<Zoho>,
    /// Proxies, certificate authorities, patience.
    pub pace: Pace,
    /// How results are shown.
    pub output: Output,
}

/// `zbulk sandbox`: the stand-in server on its own.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Loopback; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where accepted archives are kept.
    pub dir: PathBuf,
    /// The text of a fault plan.
    pub faults: Option<String>,
    /// Decides the plan's probabilities. Default 0.
    pub seed: u64,
    /// How notes are shown.
    pub output: Output,
}

/// Where archives go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// The built-in stand-in, started in-process, keeping what it accepts in DIR/sandbox. Needs nothing.
    Sandbox,
    /// Zoho CRM, or whatever stands at the URLs given.
    Zoho(Box<Zoho>),
}

/// A Zoho organisation and the way into it.
#[derive(Debug)]
pub(crate) struct Zoho {
    /// The data centre. Default `us`.
    pub dc: DataCentre,
    /// The organisation's `zgid`, a string: it may pass 2^31.
    pub org: String,
    /// The URLs, checked.
    pub target: upload::Target,
    /// What tokens come from.
    pub credentials: Credentials,
}

/// How fast archives are sent, and through what.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Uploads at the same time, 1 to 25. Default 4.
    pub concurrency: usize,
    /// Requests started per second; 0.0 is no limit. Default 5.
    pub starts_per_second: f64,
    /// Bytes per second over all uploads; `None` is no limit, the default.
    pub bwlimit: Option<u64>,
    /// How long the run may go without any success before it stops. Default 30 minutes.
    pub max_wait: Duration,
    /// The proxy for https, from `HTTPS_PROXY` or `ALL_PROXY` (or lower case).
    pub https_proxy: Option<String>,
    /// The hosts that need no proxy, from `NO_PROXY` (or lower case).
    pub no_proxy: Option<String>,
    /// Additional certificate authorities, PEM.
    pub extra_ca_pem: Vec<Vec<u8>>,
}

/// How results and progress are shown.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Results as one JSON document instead of tables.
    pub json: bool,
    /// Neither progress nor notes; errors and results only.
    pub quiet: bool,
    /// 0: warnings; 1: what is done; 2: how; 3: everything.
    pub verbosity: u8,
    /// Whether progress is shown.
    pub progress: ProgressMode,
    /// Whether standard error may be coloured; decided, no longer `auto`.
    pub color_stderr: bool,
    /// What was typed, and the command that goes on.
    pub command_line: CommandLine,
    /// What the user should know about the configuration, such as a mistyped environment variable.
    pub notes: Vec<String>,
}

/// How progress is shown on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, elsewhere a plain line every few seconds.
    Auto,
    /// Bars, also where standard error is no terminal.
    Always,
    /// None.
    Never,
}

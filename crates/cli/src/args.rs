//! What was typed, and nothing else: no default is filled in here, no file is read, no value is checked beyond its shape.
//!
//! Values stay text until `config` knows which of flag, environment, job file and user file wins; only then are they
//! parsed, so that a bad value is told in the same words wherever it stands. Long, since it is one table: the flags and
//! their help.

#![expect(clippy::doc_markdown, reason = "doc comments are the help that users read, at a terminal")]
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links, reason = "the same")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use upload::DataCentre;

mod texts;

/// Moves data into Zoho CRM: CSV exports become chunks, archives and `file_id`s.
#[derive(Debug, Parser)]
#[command(
    name = "zbulk",
    version,
    about = "Move data into Zoho CRM in bulk: CSV exports become archives and file_ids",
    long_about = texts::ABOUT,
    after_help = texts::AFTER,
    after_long_help = texts::after_long(),
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Sets an older run aside.
const RESTART: &str = "--restart";

/// What was typed, quoted so that a POSIX shell takes it for the same. Holds no secret: none is ever an argument.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CommandLine {
    /// All of it.
    pub(crate) typed: String,
    /// Without `--restart`: what goes on with the run that was begun, and does not begin it once more.
    pub(crate) onward: String,
}

impl CommandLine {
    /// From the arguments of a process, its own name first.
    pub(crate) fn of(arguments: impl Iterator<Item = OsString>) -> CommandLine {
        let mut line = CommandLine { typed: "zbulk".to_owned(), onward: "zbulk".to_owned() };
        let mut is_option = true;
        for argument in arguments.skip(1) {
            let argument = argument.to_string_lossy();
            let word = format!(" {}", quoted(&argument));
            line.typed.push_str(&word);
            is_option &= argument != "--";
            if !(is_option && argument == RESTART) {
                line.onward.push_str(&word);
            }
        }
        line
    }
}

/// An argument as a POSIX shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// One command of the tool.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check, plan, pack and upload; run it again and it goes on where it stopped
    #[command(long_about = texts::RUN, after_help = texts::RUN_EXAMPLES)]
    Run(RunArgs),
    /// Find every problem of the inputs, with file and line; send nothing
    #[command(long_about = texts::CHECK, after_help = texts::CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Show the chunks, API credits and upload time that a run would take
    #[command(long_about = texts::PLAN, after_help = texts::PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Write the archives and their manifest, and send nothing
    #[command(long_about = texts::PACK, after_help = texts::PACK_EXAMPLES)]
    Pack(PackArgs),
    /// Send the archives that zbulk pack wrote
    #[command(long_about = texts::UPLOAD, after_help = texts::UPLOAD_EXAMPLES)]
    Upload(UploadArgs),
    /// Show where a run stands, from its journal
    #[command(long_about = texts::STATUS, after_help = texts::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Compare archives with the journal and the inputs
    #[command(long_about = texts::VERIFY, after_help = texts::VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Look at the access to Zoho
    #[command(subcommand, long_about = texts::AUTH)]
    Auth(AuthCommand),
    /// Run the built-in stand-in for Zoho on its own
    #[command(long_about = texts::SANDBOX, after_help = texts::SANDBOX_EXAMPLES)]
    Sandbox(SandboxArgs),
    /// Print the schema of a file that zbulk writes
    #[command(subcommand, long_about = texts::SCHEMA)]
    Schema(SchemaCommand),
    /// Print a completion script for a shell
    #[command(long_about = texts::COMPLETIONS, after_help = texts::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page
    #[command(long_about = texts::MAN, after_help = texts::MAN_EXAMPLES)]
    Man,
}

impl Command {
    /// `--color` of whichever command it is.
    pub(crate) fn color(&self) -> Option<&str> {
        let show = match self {
            Command::Run(args) => &args.show,
            Command::Check(args) => &args.show,
            Command::Plan(args) => &args.show,
            Command::Pack(args) => &args.show,
            Command::Upload(args) => &args.show,
            Command::Status(args) => &args.show,
            Command::Verify(args) => &args.show,
            Command::Auth(AuthCommand::Check(args)) => &args.show,
            Command::Sandbox(args) => &args.show,
            Command::Schema(_) | Command::Completions(_) | Command::Man => return None,
        };
        show.color.as_deref()
    }
}

/// `zbulk auth …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Show what the credentials give: token, scope, organisation; and what is missing
    #[command(long_about = texts::AUTH_CHECK, after_help = texts::AUTH_CHECK_EXAMPLES)]
    Check(AuthCheckArgs),
}

/// `zbulk schema …`
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the JSON Schema of manifest.json
    Manifest,
}

/// `zbulk run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    /// Do everything up to the network call, and no more
    ///
    /// Configuration, inputs, plan and archives are made and checked as in a run; no request is sent.
    #[arg(long, help_heading = texts::OUTPUT)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) restart: RestartArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    /// Bandwidth for the estimate of the upload time
    ///
    /// Bytes per second as in 2MB, or bits per second as in 50Mbit. Without it no time is estimated.
    #[arg(long, value_name = "RATE", help_heading = texts::OUTPUT)]
    pub(crate) bandwidth: Option<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk pack`
#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    #[command(flatten)]
    pub(crate) restart: RestartArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk upload`
#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk auth check`
#[derive(Debug, Args)]
pub(crate) struct AuthCheckArgs {
    /// Job file whose [target] is used
    ///
    /// Taken for its dc, org and api_version only. Without it, no job file is read.
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk sandbox`
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Address to listen on; loopback only
    ///
    /// Port 0 takes any free port; the first line of output tells which. Default: 127.0.0.1:0.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Directory for accepted archives, one <file_id>.zip each
    ///
    /// Created where it is missing. Ids go on after the highest one found there.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// TOML file that says which requests shall go wrong, and how
    ///
    /// Without it, the sandbox misbehaves nowhere.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) faults: Option<PathBuf>,
    /// Seed for the probabilities of the fault plan
    ///
    /// The same seed and the same requests meet the same faults. Default: 0.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) user: UserArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `zbulk completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// What to work on.
#[derive(Debug, Args, Default)]
pub(crate) struct JobArgs {
    /// Job file [default: zbulk.toml]
    ///
    /// TOML; names the modules, their CSV files and how children refer to their parents.
    #[arg(value_name = "JOB", value_hint = clap::ValueHint::FilePath)]
    pub(crate) job: Option<PathBuf>,
    /// Module of a single plain CSV, instead of a job file
    ///
    /// The module's API name, as in Contacts. Goes with --csv.
    #[arg(long, value_name = "MODULE", requires = "csv", conflicts_with = "job")]
    pub(crate) module: Option<String>,
    /// The single plain CSV, instead of a job file
    ///
    /// Goes with --module. `-` is standard input; gzip is read too.
    #[arg(long, value_name = "FILE", requires = "module", conflicts_with = "job", value_hint = clap::ValueHint::FilePath)]
    pub(crate) csv: Option<PathBuf>,
}

/// The settings of the user.
#[derive(Debug, Args, Default)]
pub(crate) struct UserArgs {
    /// User file [default: ~/.config/zbulk/config.toml]
    ///
    /// Settings that job files do not give, and those that they may not give: URLs and where the credentials are. The
    /// default lies under $XDG_CONFIG_HOME where that is set.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// Where things are kept.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::OUTPUT)]
pub(crate) struct DirArgs {
    /// Output directory [default: <name>.zbulk beside the job file]
    ///
    /// Holds journal, manifest, rejects and archives. <name> is the job's name, else the job file's stem; without a
    /// job file it is the module, and the directory is in the current one. With --sandbox: <name>.sandbox.zbulk.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Rehearse: use the built-in stand-in for Zoho and a directory of its own
    ///
    /// Needs neither credentials nor an organisation. Accepted archives are kept under DIR/sandbox.
    #[arg(long)]
    pub(crate) sandbox: bool,
}

/// What becomes of an older run in DIR.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::OUTPUT)]
pub(crate) struct RestartArgs {
    /// Set an older run in DIR aside and begin anew
    ///
    /// It is moved to DIR/set-aside-1 (2, 3 and so on), never deleted, once the inputs are found good. Everything is
    /// then sent again, also what that run has uploaded. Without an older run it changes nothing.
    #[arg(long)]
    pub(crate) restart: bool,
}

/// Whether archives are kept.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::OUTPUT)]
pub(crate) struct KeepArgs {
    /// Keep the archives under DIR/archives [default: they are not kept]
    ///
    /// They can be sent again with `zbulk upload`, and compared with `zbulk verify`.
    #[arg(long)]
    pub(crate) keep_archives: bool,
}

/// Which organisation of Zoho, and by which URLs.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::TARGET)]
pub(crate) struct TargetArgs {
    /// Data centre of the organisation [default: us]
    ///
    /// Decides all hosts. A token works in its own data centre only.
    #[arg(long, value_name = "DC", value_parser = PossibleValuesParser::new(DataCentre::ALL.map(DataCentre::as_str)))]
    pub(crate) dc: Option<String>,
    /// Organisation: the zgid that `zbulk auth check` shows
    ///
    /// Sent as X-CRM-ORG. It is not the organisation's id.
    #[arg(long, value_name = "ZGID")]
    pub(crate) org: Option<String>,
    /// Version in the API's path [default: v2]
    ///
    /// Path and headers are the same in all versions.
    #[arg(long, value_name = "VERSION")]
    pub(crate) api_version: Option<String>,
    /// Whole URL of the upload endpoint [default: the data centre's]
    ///
    /// https, or http to this machine.
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) upload_url: Option<String>,
    /// Base URL of the accounts host [default: the data centre's]
    ///
    /// It gives tokens. https, or http to this machine.
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) accounts_url: Option<String>,
    /// Base URL of the API host [default: the data centre's]
    ///
    /// It knows the organisation. https, or http to this machine. Used by `zbulk auth check` only.
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) api_url: Option<String>,
    /// Trust the certificate authorities in this PEM file too
    ///
    /// May be given several times. Certificates are always verified. Default: this system's authorities only.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) ca_file: Vec<PathBuf>,
}

/// Where secrets are; never the secrets.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::TARGET)]
pub(crate) struct CredentialArgs {
    /// File with the credentials, of mode 0600
    ///
    /// TOML with client_id, client_secret and refresh_token, or access_token. Default: the environment's
    /// ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN, or ZOHO_ACCESS_TOKEN. A secret is never an argument.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) credentials: Option<PathBuf>,
}

/// How fast.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::PACE)]
pub(crate) struct PaceArgs {
    /// Uploads at the same time, 1 to 25 [default: 4]
    ///
    /// Zoho's editions allow 5 to 25 calls at once, all users of the organisation together.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<String>,
    /// Requests started per second, 0 for no limit [default: 5]
    ///
    /// At most 1000; fractions are allowed: 0.5 is one request every two seconds.
    #[arg(long, value_name = "N")]
    pub(crate) starts_per_second: Option<String>,
    /// Bytes sent per second, all uploads together [default: none]
    ///
    /// As in 2MB (bytes) or 50Mbit (bits), at least 1KiB; `none` is no limit.
    #[arg(long, value_name = "RATE")]
    pub(crate) bwlimit: Option<String>,
    /// How long to go on without any success [default: 30m]
    ///
    /// As in 90s, 30m, 2h, at most 7d. After it the run stops, and can be run again.
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_wait: Option<String>,
}

/// Where chunks end and what becomes of bad records.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::LIMITS)]
pub(crate) struct LimitArgs {
    /// Records per CSV, parents and children, 1 to 25000 [default: 25000]
    ///
    /// Zoho takes no more than 25,000 in one CSV.
    #[arg(long, value_name = "N")]
    pub(crate) chunk_records: Option<String>,
    /// Bytes per archive, up to 26214400 [default: 25MB]
    ///
    /// As in 25MB (25,000,000) or 25MiB (26,214,400). Zoho says 25 MB and not which.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_archive_bytes: Option<String>,
    /// Bytes per CSV in an archive, uncompressed [default: 25MB]
    ///
    /// As in 25MB (25,000,000) or 25MiB (26,214,400); `none` is no limit.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_csv_bytes: Option<String>,
    /// Children of one parent, per child module [default: none]
    ///
    /// A parent with more is a reject. `none` warns above 200 and goes on.
    #[arg(long, value_name = "N")]
    pub(crate) max_children_per_parent: Option<String>,
    /// What happens to records that cannot be sent [default: stop]
    ///
    /// `stop`: any such record stops the run before anything is sent. `set-aside`: they are written to DIR/rejects and
    /// the run goes on without them.
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["stop", "set-aside"]))]
    pub(crate) rejects: Option<String>,
}

/// How much of this machine.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::MACHINE)]
pub(crate) struct MachineArgs {
    /// Compression level of the archives, 0 to 9 [default: 6]
    ///
    /// 0 stores, and 9 packs as 8. Below about 150 Mbit/s the smaller archives of level 6 are the faster ones.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Memory for records, indexes, children and archives [default: 512M]
    ///
    /// As in 512M (binary) or 500MB (decimal), 16M to 1024G. What does not fit goes to temporary files; the
    /// archives are the same.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Threads for scanning and packing, 0 for one a core [default: 0]
    ///
    /// At most 1024. Archives are the same with any number.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<String>,
}

/// The form of the result.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::SHOW)]
pub(crate) struct ResultArgs {
    /// Print the result as one JSON document
    ///
    /// Standard output holds results only; everything else goes to standard error. Default: a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How progress is shown.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = texts::SHOW)]
pub(crate) struct ShowArgs {
    /// Print errors and results only
    ///
    /// Neither progress nor notes. Default: both, on standard error.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on standard error; -vv and -vvv say still more
    ///
    /// Default: warnings only. No level shows a secret.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to draw progress bars [default: auto]
    ///
    /// `auto` draws them on a terminal and elsewhere writes a plain line every few seconds.
    #[arg(long, value_name = "WHEN", value_parser = PossibleValuesParser::new(["auto", "always", "never"]))]
    pub(crate) progress: Option<String>,
    /// When to use colour [default: auto]
    ///
    /// `auto` uses it on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", value_parser = PossibleValuesParser::new(["auto", "always", "never"]))]
    pub(crate) color: Option<String>,
}

#[cfg(test)]
mod tests;

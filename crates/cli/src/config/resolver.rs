//! The parts of which configurations are made: layers put together, values parsed, paths looked at. Problems are
//! collected and never end the work early.

use std::io::IsTerminal as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prep::{Import, Input, Limits, RejectPolicy, Settings};
use upload::{DataCentre, Target};

use super::credentials::Credentials;
use super::environment::{Environment, config_file};
use super::job_file::{JobFile, STANDARD_INPUT, read_text};
use super::parse::{self, Parsed};
use super::setting::{Given, Key, Layer, Layers};
use super::{Output, Pace, ProgressMode, Zoho, user_file};
use crate::args::{CommandLine, JobArgs, ShowArgs};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Problem, Result};

mod dir;

/// The largest fault plan and certificate file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The job file where none is named.
const DEFAULT_JOB: &str = "zbulk.toml";

/// Most problems that are told at once; a file of garbage has thousands.
const MAX_PROBLEMS: usize = 20;

/// The largest `zbulk --max-wait`.
const LONGEST_WAIT: Duration = Duration::from_hours(7 * 24);

const ONE_OF_TIMES: [(&str, ProgressMode); 3] =
    [("auto", ProgressMode::Auto), ("always", ProgressMode::Always), ("never", ProgressMode::Never)];

const POLICIES: [(&str, RejectPolicy); 2] =
    [("stop", RejectPolicy::Stop), ("set-aside", RejectPolicy::SetAside)];

/// Where the job is, and what it is needed for.
#[derive(Debug, Clone, Copy)]
pub(super) enum JobSource<'a> {
    /// The command has no job.
    Nothing,
    /// A job file, if one is named: for its `[target]`.
    Target(Option<&'a Path>),
    /// A job.
    Job {
        args: &'a JobArgs,
        /// Whether the inputs are read, so that they must be there.
        inputs: bool,
        /// Whether `--out` makes up for a missing job.
        optional: bool,
    },
}

impl<'a> JobSource<'a> {
    /// For commands that read the inputs.
    pub(super) fn work(args: &'a JobArgs) -> JobSource<'a> {
        JobSource::Job { args, inputs: true, optional: false }
    }

    /// For commands that only want to know the output directory.
    pub(super) fn place(args: &'a JobArgs) -> JobSource<'a> {
        JobSource::Job { args, inputs: false, optional: true }
    }

    /// For commands that want to know the output directory, and read the inputs where there is a job.
    pub(super) fn place_and_work(args: &'a JobArgs) -> JobSource<'a> {
        JobSource::Job { args, inputs: true, optional: true }
    }

    /// For commands that only want the target.
    pub(super) fn target(path: Option<&'a Path>) -> JobSource<'a> {
        JobSource::Target(path)
    }
}

/// A job with its name and place.
#[derive(Debug)]
struct Job {
    /// `None` where it cannot be told; the problem is noted.
    name: Option<String>,
    /// The directory in which the output directory stands.
    beside: PathBuf,
    imports: Vec<Import>,
}

/// Collects what a command needs, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Resolver<'e> {
    environment: &'e Environment,
    layers: Layers,
    job: Option<Job>,
    reads_standard_input: bool,
    notes: Vec<String>,
    problems: Vec<Problem>,
}

impl<'e> Resolver<'e> {
    /// Reads user file and job file.
    pub(super) fn new(environment: &'e Environment, flags: Layer, source: JobSource<'_>) -> Resolver<'e> {
        let mut problems = Vec::new();
        let variables = environment.layer(&mut problems);
        let layers = Layers { flags, environment: variables, ..Layers::default() };
        let notes = environment.unknown_variables();
        let mut resolver =
            Resolver { environment, layers, job: None, reads_standard_input: false, notes, problems };
        resolver.read_user_file();
        resolver.read_job(source);
        resolver
    }

    /// Notes a problem.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The configuration, unless there are problems.
    pub(super) fn finish<T>(mut self, config: Option<T>) -> Result<T> {
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => {
                let more = self.problems.len().saturating_sub(MAX_PROBLEMS);
                if more > 0 {
                    self.problems.truncate(MAX_PROBLEMS);
                    self.problems.push(Problem::message(format!("{more} more problems of this kind")));
                }
                let is_usage = !self.problems.iter().any(Problem::is_of_the_system);
                let exit = if is_usage { ExitCode::Usage } else { ExitCode::Unexpected };
                Err(Failure::many(exit, self.problems))
            }
        }
    }

    /// The job's name.
    pub(super) fn name(&self) -> Option<String> {
        self.job.as_ref()?.name.clone()
    }

    /// What to prepare. Temporary files go to `spill_dir`, else to the system's directory for them.
    pub(super) fn job(&mut self, spill_dir: Option<&Path>) -> Option<prep::Job> {
        let settings = Settings {
            limits: self.limits(),
            level: self.number(Key::Level, 0..=9, 6) as u8,
            rejects: self.value(Key::Rejects, RejectPolicy::Stop, |text| parse::choice(text, &POLICIES)),
            threads: self.number(Key::Threads, 0..=1_024, 0) as usize,
            memory_bytes: self.value(Key::Memory, 512 << 20, |text| parse::size(text, 16 << 20..=1 << 40)),
            spill_dir: spill_dir.map_or_else(std::env::temp_dir, Path::to_owned),
        };
        let imports = self.job.as_ref()?.imports.clone();
        Some(prep::Job { imports, settings })
    }

    fn limits(&mut self) -> Limits {
        let default = Limits::default();
        Limits {
            chunk_records: self.number(Key::ChunkRecords, 1..=25_000, default.chunk_records.into()) as u32,
            max_archive_bytes: self.value(Key::MaxArchiveBytes, default.max_archive_bytes, |text| {
                parse::size(text, 1..=26_214_400)
            }),
            max_csv_bytes: self.value(Key::MaxCsvBytes, default.max_csv_bytes, |text| {
                parse::size_or_none(text, 1..=u32::MAX.into())
            }),
            max_children_per_parent: self
                .value(Key::MaxChildrenPerParent, None, |text| parse::number_or_none(text, 1..=25_000))
                .map(|number| number as u32),
        }
    }

    /// Whether archives are kept.
    pub(super) fn keep_archives(&mut self) -> bool {
        self.value(Key::KeepArchives, false, parse::boolean)
    }

    /// A number of bytes a second; `None` where it is not given.
    pub(super) fn rate(&mut self, key: Key) -> Option<u64> {
        self.value(key, None, |text| parse::rate(text, 1_024..=1 << 50))
    }

    /// How fast, through what.
    pub(super) fn pace(&mut self, ca_files: &[PathBuf]) -> Pace {
        let (https_proxy, no_proxy) = match self.environment.proxies() {
            Ok(proxies) => proxies,
            Err(problem) => {
                self.problem(problem);
                (None, None)
            }
        };
        let mut extra_ca_pem = Vec::new();
        for path in ca_files {
            match read_text(path, MAX_FILE_BYTES) {
                Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
                    extra_ca_pem.push(text.into_bytes());
                }
                Ok(_) => {
                    self.problem(Problem::message(format!("{}: holds no PEM certificate", path.display())));
                }
                Err(problem) => self.problem(problem),
            }
        }
        Pace {
            concurrency: self.number(Key::Concurrency, 1..=25, 4) as usize,
            starts_per_second: self.value(Key::StartsPerSecond, 5.0, parse::starts),
            bwlimit: self.rate(Key::Bwlimit),
            max_wait: self
                .value(Key::MaxWait, Duration::from_mins(30), |text| parse::duration(text, LONGEST_WAIT)),
            https_proxy,
            no_proxy,
            extra_ca_pem,
        }
    }

    /// The organisation and the way into it; `None` if something is wrong or missing.
    pub(super) fn zoho(&mut self, needs_org: bool) -> Option<Zoho> {
        let dc = self.value(Key::Dc, DataCentre::Us, data_centre);
        let version = self.value(Key::ApiVersion, "v2".to_owned(), parse::api_version);
        let org = self.value(Key::Org, None, |text| parse::org(text).map(Some));
        if needs_org && self.layers.get(Key::Org).is_none() {
            self.problem(Problem::message("there is no organisation to send to").hint(
                "give its zgid with --org, as ZBULK_ORG, or as org under [target] in the job file;\n\
                 `zbulk auth check` shows it; to rehearse without one, add --sandbox",
            ));
        }
        let credentials = match Credentials::find(self.environment, &self.layers) {
            Ok(credentials) => Some(credentials),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        };
        // The URLs are looked at even if there is no organisation: all problems at once.
        let target = Target::of(dc, &version, org.as_deref().unwrap_or("0"));
        let mut target = match target {
            Ok(target) => target,
            Err(error) => {
                self.problem(of_upload(error, None));
                return None;
            }
        };
        for (key, apply) in URLS {
            if let Some(given) = self.layers.get(key).cloned() {
                match apply(target.clone(), &given.text) {
                    Ok(changed) => target = changed,
                    Err(error) => self.problem(of_upload(error, Some(&given))),
                }
            }
        }
        // Empty where none was given: then there is none to compare with.
        target.org = org.clone().unwrap_or_default();
        Some(Zoho { dc, org: org.unwrap_or_default(), target, credentials: credentials? })
    }

    /// Whoever types a URL beside `--sandbox` means one of the two. URLs from elsewhere are for other runs.
    pub(super) fn refuse_urls_beside_the_sandbox(&mut self) {
        for (key, _) in URLS {
            if let Some(given) = self.layers.flags.get(&key) {
                let problem = Problem::message(format!("{} and `--sandbox` are both given", given.origin));
                self.problems.push(problem.hint("the sandbox has its own address: leave one of the two out"));
            }
        }
    }

    /// How results are shown.
    pub(super) fn output(&mut self, json: bool, show: &ShowArgs, command_line: &CommandLine) -> Output {
        let progress =
            self.value(Key::Progress, ProgressMode::Auto, |text| parse::choice(text, &ONE_OF_TIMES));
        let color = self.value(Key::Color, ProgressMode::Auto, |text| parse::choice(text, &ONE_OF_TIMES));
        let decide = |terminal: bool| match color {
            ProgressMode::Auto => terminal && !self.environment.wants_no_color(),
            ProgressMode::Always => true,
            ProgressMode::Never => false,
        };
        Output {
            json,
            quiet: show.quiet,
            verbosity: show.verbose,
            progress,
            color_stderr: decide(std::io::stderr().is_terminal()),
            command_line: command_line.clone(),
            notes: std::mem::take(&mut self.notes),
        }
    }

    /// The value that counts, parsed; the default where none is given, or where it is wrong and noted.
    fn value<T>(&mut self, key: Key, default: T, parse: impl FnOnce(&str) -> Parsed<T>) -> T {
        let Some(given) = self.layers.get(key) else { return default };
        match parse(&given.text) {
            Ok(value) => value,
            Err(wrong) => {
                let problem = given.problem(wrong);
                self.problem(problem);
                default
            }
        }
    }

    fn number(&mut self, key: Key, bounds: RangeInclusive<u64>, default: u64) -> u64 {
        self.value(key, default, |text| parse::number(text, bounds))
    }

    fn read_user_file(&mut self) {
        let named = config_file(&self.layers.flags, &self.layers.environment);
        let path = match named {
            Some(given) => self.environment.expand(&given.text),
            None => match self.environment.user_file() {
                // Where there is none, there is nothing to read.
                Some(path) if path.exists() => path,
                _ => return,
            },
        };
        match user_file::read(&path) {
            Ok(layer) => self.layers.user = layer,
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn read_job(&mut self, source: JobSource<'_>) {
        match source {
            JobSource::Nothing | JobSource::Target(None) => {}
            JobSource::Target(Some(path)) => self.read_job_file(path, false),
            JobSource::Job { args, inputs, .. } if args.module.is_some() || args.csv.is_some() => {
                self.plain_job(args, inputs);
            }
            JobSource::Job { args, inputs, optional } => {
                let path = args.job.as_deref().unwrap_or(Path::new(DEFAULT_JOB));
                if args.job.is_none() && !path.exists() {
                    if !(optional && self.layers.get(Key::Out).is_some()) {
                        self.problem(no_job(optional));
                    }
                    return;
                }
                self.read_job_file(path, inputs);
            }
        }
    }

    /// A job of one plain module.
    fn plain_job(&mut self, args: &JobArgs, inputs: bool) {
        // clap lets neither stand alone.
        let (Some(module), Some(csv)) = (&args.module, &args.csv) else { return };
        let module = match parse::module(module) {
            Ok(module) => module,
            Err(wrong) => return self.problem(Given::flag("--module", module).problem(wrong)),
        };
        if inputs {
            self.look_at("`--csv`", csv, "check the path");
        }
        let parent =
            Input { module: module.clone(), path: csv.clone(), key: None, delimiter: None, encoding: None };
        let imports = vec![Import { parent, children: Vec::new() }];
        self.job = Some(Job { name: Some(module), beside: PathBuf::new(), imports });
    }

    fn read_job_file(&mut self, path: &Path, inputs: bool) {
        let file = match JobFile::read(path) {
            Ok(file) => file,
            Err(problems) => return self.problems.extend(problems),
        };
        if inputs {
            for (place, path) in &file.paths {
                self.look_at(&place.to_string(), path, "paths in a job file are relative to the job file");
            }
        }
        let name = file.name.or_else(|| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            match parse::job_name(&stem) {
                Ok(name) => Some(name),
                Err(wrong) => {
                    let what = format!(
                        "{}: the job has no name, and its file's stem `{stem}` {wrong}",
                        path.display()
                    );
                    self.problem(Problem::message(what).hint("name = \"…\" at the top of the job file"));
                    None
                }
            }
        });
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        self.layers.job = file.settings;
        self.job = Some(Job { name, beside, imports: file.imports });
    }

    /// Whether an input is there; what is in it is for later.
    fn look_at(&mut self, origin: &str, path: &Path, hint: &str) {
        if path == Path::new(STANDARD_INPUT) {
            if std::mem::replace(&mut self.reads_standard_input, true) {
                self.problem(
                    Problem::message(format!("{origin}: standard input can be read once only"))
                        .hint("write all but one of the inputs to files"),
                );
            }
            return;
        }
        let shown = path.display();
        let problem = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => return,
            Ok(metadata) if metadata.is_dir() => {
                Problem::message(format!("{origin}: {shown} is a directory"))
                    .hint("name the CSV file in it; several files are several [[import]]s of a job file")
            }
            Ok(_) => Problem::message(format!("{origin}: {shown} is not a regular file"))
                .hint("write it to a file, or pipe it in and name the CSV `-`"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Problem::message(format!("{origin}: there is no file {shown}")).hint(hint)
            }
            Err(error) => {
                Problem::new(anyhow::Error::new(error).context(format!("{origin}: cannot read {shown}")))
            }
        };
        self.problem(problem);
    }
}

fn data_centre(text: &str) -> Parsed<DataCentre> {
    text.trim()
        .parse()
        .map_err(|()| format!("must be one of {}", DataCentre::ALL.map(DataCentre::as_str).join(", ")))
}

type ApplyUrl = fn(Target, &str) -> std::result::Result<Target, upload::Error>;

const URLS: [(Key, ApplyUrl); 3] = [
    (Key::UploadUrl, Target::with_upload_url),
    (Key::AccountsUrl, Target::with_accounts_url),
    (Key::ApiUrl, Target::with_api_url),
];

/// A setting that the upload refuses, with its place but without its text: a URL may hold a password.
fn of_upload(mut error: upload::Error, given: Option<&Given>) -> Problem {
    let hint = error.hint.take();
    let error = anyhow::Error::new(error);
    let problem = match given {
        Some(given) => Problem::new(error.context(format!("{} is refused", given.origin))),
        None => Problem::new(error),
    };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn no_job(out_helps: bool) -> Problem {
    let mut hint =
        "name a job file, as in `zbulk check jobs/crm.toml`, or give --module and --csv".to_owned();
    if out_helps {
        hint.push_str(", or the output directory with --out");
    }
    Problem::message(format!("there is no job file: no {DEFAULT_JOB} in this directory")).hint(hint)
}

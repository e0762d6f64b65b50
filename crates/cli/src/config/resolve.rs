//! From what was typed to what is meant, command by command. All problems come out at once.

use std::net::{Ipv4Addr, SocketAddr};

use super::environment::Environment;
use super::flags::layer;
use super::job_file::read_text;
use super::resolver::{JobSource, MAX_FILE_BYTES, Resolver};
use super::setting::Key;
use super::{AuthCheck, Check, Config, Destination, Pack, Plan, Run, Sandbox, Status, Upload, Verify};
use crate::args::{
    AuthCheckArgs, AuthCommand, CheckArgs, Cli, Command, CommandLine, PackArgs, PlanArgs, RunArgs,
    SandboxArgs, SchemaCommand, StatusArgs, UploadArgs, VerifyArgs,
};
use crate::failure::{Problem, Result};

/// Turns arguments into a configuration. `command_line` is what was typed, quoted for a shell.
///
/// # Errors
/// Exit code 2 with every problem that can be seen before work begins.
pub(crate) fn resolve(cli: &Cli, environment: &Environment, command_line: &CommandLine) -> Result<Config> {
    let context = Context { environment, command_line };
    match &cli.command {
        Command::Run(args) => run(args, context),
        Command::Check(args) => check(args, context),
        Command::Plan(args) => plan(args, context),
        Command::Pack(args) => pack(args, context),
        Command::Upload(args) => upload(args, context),
        Command::Status(args) => status(args, context),
        Command::Verify(args) => verify(args, context),
        Command::Auth(AuthCommand::Check(args)) => auth_check(args, context),
        Command::Sandbox(args) => sandbox(args, context),
        Command::Schema(SchemaCommand::Manifest) => Ok(Config::ManifestSchema),
        Command::Completions(args) => Ok(Config::Completions(args.shell)),
        Command::Man => Ok(Config::Man),
    }
}

/// What all commands are resolved in.
#[derive(Clone, Copy)]
struct Context<'e> {
    environment: &'e Environment,
    command_line: &'e CommandLine,
}

fn run(args: &RunArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[
        &args.dir,
        &args.keep,
        &args.target,
        &args.credentials,
        &args.pace,
        &args.limits,
        &args.machine,
        &args.user,
        &args.show,
    ]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::work(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let dir = resolver.dir_to_fill(args.dir.sandbox);
    let job = resolver.job(dir.as_deref());
    let destination = destination(&mut resolver, args.dir.sandbox);
    let pace = resolver.pace(&args.target.ca_file);
    let keep_archives = resolver.keep_archives();
    let name = resolver.name();
    let (dry_run, restart) = (args.dry_run, args.restart.restart);
    let config = move || {
        let (name, dir, job, destination) = (name?, dir?, job?, destination?);
        let run = Run { name, dir, job, destination, pace, keep_archives, dry_run, restart, output };
        Some(Config::Run(run))
    };
    resolver.finish(config())
}

fn check(args: &CheckArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.limits, &args.machine, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::work(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let (name, job) = (resolver.name(), resolver.job(None));
    let config = move || Some(Config::Check(Check { name: name?, job: job?, output }));
    resolver.finish(config())
}

fn plan(args: &PlanArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[args, &args.limits, &args.machine, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::work(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let (name, job) = (resolver.name(), resolver.job(None));
    let bandwidth = resolver.rate(Key::Bandwidth);
    let config = move || Some(Config::Plan(Plan { name: name?, job: job?, bandwidth, output }));
    resolver.finish(config())
}

fn pack(args: &PackArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.dir, &args.limits, &args.machine, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::work(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let (sandbox, restart) = (args.dir.sandbox, args.restart.restart);
    let dir = resolver.dir_to_fill(sandbox);
    let (name, job) = (resolver.name(), resolver.job(dir.as_deref()));
    let config =
        move || Some(Config::Pack(Pack { name: name?, dir: dir?, job: job?, sandbox, restart, output }));
    resolver.finish(config())
}

fn upload(args: &UploadArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.dir, &args.target, &args.credentials, &args.pace, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::place(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let dir = resolver.dir_to_read(args.dir.sandbox, "zbulk pack");
    let destination = destination(&mut resolver, args.dir.sandbox);
    let pace = resolver.pace(&args.target.ca_file);
    let config = move || Some(Config::Upload(Upload { dir: dir?, destination: destination?, pace, output }));
    resolver.finish(config())
}

fn status(args: &StatusArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.dir, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::place(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let dir = resolver.dir_to_read(args.dir.sandbox, "zbulk run");
    let config = move || Some(Config::Status(Status { dir: dir?, output }));
    resolver.finish(config())
}

fn verify(args: &VerifyArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.dir, &args.limits, &args.machine, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::place_and_work(&args.job));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let dir = resolver.dir_to_read(args.dir.sandbox, "zbulk pack");
    let job = resolver.job(dir.as_deref());
    let config = move || Some(Config::Verify(Verify { dir: dir?, job, output }));
    resolver.finish(config())
}

fn auth_check(args: &AuthCheckArgs, context: Context<'_>) -> Result<Config> {
    let flags = layer(&[&args.target, &args.credentials, &args.user, &args.show]);
    let mut resolver = Resolver::new(context.environment, flags, JobSource::target(args.job.as_deref()));
    let output = resolver.output(args.result.json, &args.show, context.command_line);
    let zoho = resolver.zoho(false);
    let pace = resolver.pace(&args.target.ca_file);
    let config = move || Some(Config::AuthCheck(AuthCheck { zoho: Box::new(zoho?), pace, output }));
    resolver.finish(config())
}

fn sandbox(args: &SandboxArgs, context: Context<'_>) -> Result<Config> {
    let mut resolver =
        Resolver::new(context.environment, layer(&[&args.user, &args.show]), JobSource::Nothing);
    let output = resolver.output(false, &args.show, context.command_line);
    let listen = args.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    if !listen.ip().is_loopback() {
        let problem =
            Problem::message(format!("`--listen {listen}` is not an address of this machine alone"));
        resolver.problem(problem.hint("the sandbox listens on loopback only, as in --listen 127.0.0.1:8400"));
    }
    if args.dir.exists() && !args.dir.is_dir() {
        resolver.problem(Problem::message(format!("`--dir {}` is not a directory", args.dir.display())));
    }
    let faults = args.faults.as_deref().and_then(|path| match read_text(path, MAX_FILE_BYTES) {
        Ok(text) => Some(text),
        Err(problem) => {
            resolver.problem(problem);
            None
        }
    });
    let (dir, seed) = (args.dir.clone(), args.seed.unwrap_or(0));
    resolver.finish(Some(Config::Sandbox(Sandbox { listen, dir, faults, seed, output })))
}

fn destination(resolver: &mut Resolver<'_>, sandbox: bool) -> Option<Destination> {
    if sandbox {
        resolver.refuse_urls_beside_the_sandbox();
        return Some(Destination::Sandbox);
    }
    resolver.zoho(true).map(|zoho| Destination::Zoho(Box::new(zoho)))
}

//! `zbulk sandbox`: the stand-in server on its own. Its first line of output is one JSON object; then it runs until
//! Ctrl-C.

use std::sync::Arc;

use upload::sandbox::SandboxConfig;

use crate::config::Sandbox;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Result};
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Progress;
use crate::runtime;

/// Starts the server, says where it is, and waits for the signal that ends it.
///
/// # Errors
/// `Usage` for a fault plan that cannot be read; `Unexpected` if the server cannot start.
pub(super) fn execute(config: Sandbox, progress: &Arc<Progress>) -> Result<ExitCode> {
    let progress = Arc::clone(progress);
    runtime::block_on(async move {
        let interrupt = Interrupt::install(Arc::clone(&progress), |_| {})
            .or_fail(ExitCode::Unexpected, || "cannot hear signals")?;
        let Sandbox { listen, dir, faults, seed, .. } = config;
        let server = SandboxConfig { listen, dir, faults, seed };
        let sandbox = upload::sandbox::Sandbox::start(server).await.map_err(|error| {
            // The address and the fault plan are the user's; all else is the system's.
            let exit = match error.kind() {
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::AddrInUse => ExitCode::Usage,
                _ => ExitCode::Unexpected,
            };
            Failure::new(exit, anyhow::Error::new(error).context("cannot start the sandbox"))
        })?;
        announce(&sandbox.announcement())
            .or_fail(ExitCode::Unexpected, || "cannot print the announcement")?;
        progress.note("the sandbox is running; press Ctrl-C to end it");
        interrupt.wait().await;
        sandbox.stop().await;
        // Being stopped is how this command does what was asked.
        Ok(ExitCode::Done)
    })
}

fn announce(line: &str) -> std::io::Result<()> {
    let mut out = output::stdout();
    out.line(line)?;
    out.finish()
}

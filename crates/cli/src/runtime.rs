//! The asynchronous runtime, started only by commands that need it: `zbulk --version` starts no thread.

use std::future::Future;

use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};

/// Runs a future to its end on a multi-threaded runtime.
///
/// Blocking work that is still going on afterwards is left behind, not waited for: the process is about to exit.
///
/// # Errors
/// The future's, or `Unexpected` where the system gives no threads or descriptors.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_fail(ExitCode::Unexpected, || "cannot start the runtime")?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

//! Runs the user's token command. What it prints is a secret and goes nowhere but into the token;
//! its standard error is not shown either, since commands repeat there what they send.

use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::process::Command;

use crate::ErrorKind;
use crate::throttle::Stop;

/// For the command to end.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs `sh -c <line>`; its standard output, trimmed, is the token.
pub(super) async fn run(line: &str) -> Result<SecretString, Stop> {
    let failed = |what: String| {
        Stop::new(
            ErrorKind::Auth,
            format!("the token command {what}"),
            "run it by hand and see what it prints",
        )
    };
    let child = Command::new("sh")
        .arg("-c")
        .arg(line)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, child)
        .await
        .map_err(|_elapsed| failed(format!("did not end in {} s", LIMIT.as_secs())))?
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.status)));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_invalid| failed("printed something that is no token".to_owned()))?;
    Ok(SecretString::from(text.trim()))
}

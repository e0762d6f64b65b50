//! `zbulk auth check`: what the credentials give, and what is missing for an upload.

use std::sync::Arc;

use serde_json::json;
use upload::{AuthReport, Client};

use crate::config::AuthCheck;
use crate::connect::client_config;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Problem, Result};
use crate::output::{self, Table};
use crate::progress::Progress;
use crate::runtime;

/// Asks for a token and the organisation, and prints the findings.
///
/// # Errors
/// `Auth` if something is missing; else those of the client.
pub(super) fn execute(config: AuthCheck, progress: &Arc<Progress>) -> Result<ExitCode> {
    let json = config.output.json;
    let org = Some(config.zoho.org.clone()).filter(|org| !org.is_empty());
    let client_config =
        client_config(config.zoho.target, config.zoho.credentials.into_upload(), config.pace, None);
    let reporter: Arc<dyn upload::Reporter> = Arc::clone(progress) as _;
    let report = runtime::block_on(async move {
        let client = Client::new(client_config, reporter)?;
        Ok(client.check_auth().await?)
    })?;
    progress.finish();
    print(&report, config.zoho.dc.as_str(), org.as_deref(), json)
        .or_fail(ExitCode::Unexpected, || "cannot print the result")?;
    if report.missing.is_empty() {
        return Ok(ExitCode::Done);
    }
    Err(Failure::many(ExitCode::Auth, report.missing.iter().map(Problem::message).collect()))
}

fn print(report: &AuthReport, dc: &str, org: Option<&str>, json: bool) -> std::io::Result<()> {
    let mut out = output::stdout();
    if json {
        out.json(&json!({
            "dc": dc,
            "token": report.token,
            "scope": report.scope,
            "org": report.org,
            "org_given": org,
            "org_type": report.org_type,
            "edition": report.edition,
            "missing": report.missing,
        }))?;
    } else {
        let mut table = Table::new(["what", "found"]);
        table.row(["data centre", dc]);
        table.row(["token", &report.token]);
        let unknown = || "not told by the server";
        table.row(["scope", report.scope.as_deref().unwrap_or_else(unknown)]);
        table.row(["organisation (zgid)", report.org.as_deref().unwrap_or_else(unknown)]);
        table.row(["organisation type", report.org_type.as_deref().unwrap_or_else(unknown)]);
        table.row(["edition", report.edition.as_deref().unwrap_or_else(unknown)]);
        out.table(&table)?;
    }
    out.finish()
}

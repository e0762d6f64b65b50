//! `zbulk man`: the manual page, one page for all commands.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::output;

/// Prints the page.
///
/// # Errors
/// `Unexpected` if it cannot be printed.
pub(super) fn execute() -> Result<ExitCode> {
    let mut out = output::stdout();
    page()
        .and_then(|page| out.bytes(&page))
        .and_then(|()| out.finish())
        .or_fail(ExitCode::Unexpected, || "cannot print the manual page")?;
    Ok(ExitCode::Done)
}

/// Title, description and commands first, then a section for each command, then what holds for all of them.
fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    for subcommand in leaves(&command) {
        let title = subcommand.get_bin_name().unwrap_or_default().to_uppercase();
        page.extend_from_slice(format!(".SH \"{title}\"\n").as_bytes());
        let mut section = Vec::new();
        let man = Man::new(subcommand.clone());
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        man.render_extra_section(&mut section)?;
        page.extend_from_slice(demoted(&section).as_bytes());
    }
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// The commands that do something, `zbulk auth check` rather than `zbulk auth`.
fn leaves(command: &Command) -> Vec<&Command> {
    let mut found = Vec::new();
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        if subcommand.has_subcommands() { found.extend(leaves(subcommand)) } else { found.push(subcommand) }
    }
    found
}

/// Headings of sections become headings of subsections.
fn demoted(section: &[u8]) -> String {
    let text = String::from_utf8_lossy(section);
    text.lines().flat_map(|line| [line.replacen(".SH ", ".SS ", 1), "\n".to_owned()]).collect()
}

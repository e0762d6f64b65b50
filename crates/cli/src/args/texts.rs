//! The longer texts of the help: headings, descriptions and examples. Text only.

use std::fmt::Write as _;

use crate::exit_code::ExitCode;

pub(crate) const OUTPUT: &str = "Output";
pub(crate) const TARGET: &str = "Target and credentials";
pub(crate) const PACE: &str = "Pace";
pub(crate) const LIMITS: &str = "Limits and rejects";
pub(crate) const MACHINE: &str = "Machine";
pub(crate) const SHOW: &str = "Display";

pub(crate) const ABOUT: &str = "\
Move data into Zoho CRM in bulk.

zbulk takes one CSV export per module, of any size, cuts it into chunks that Zoho CRM's Bulk Write accepts, packs each \
chunk of parents together with the rows of its child modules into one ZIP, uploads the ZIPs in parallel, and keeps a \
manifest that says which chunk became which file_id. Stop it any way you like: run the same command again and it goes \
on where it stopped.";

pub(crate) const AFTER: &str = "\
Examples:
  zbulk check                 every problem of the job in zbulk.toml
  zbulk run --sandbox         rehearse it against the built-in stand-in
  zbulk run                   do it
  zbulk run --module Contacts --csv contacts.csv
                              one plain module, without a job file";

/// The end of `zbulk --help`: examples, and what holds for all commands.
pub(crate) fn after_long() -> String {
    let mut text = format!("{AFTER}\n\n{COMMON}\n\nExit codes:");
    for code in ExitCode::ALL {
        write!(text, "\n  {:<4} {}", code.number(), code.meaning())
            .expect("invariant: a String takes every write");
    }
    text
}

const COMMON: &str = "\
Settings:
  A flag wins over the environment, the environment over the job file, the
  job file over the user file. In the environment an option with a value is
  ZBULK_ and its name: ZBULK_DC, ZBULK_BWLIMIT, ZBULK_MAX_WAIT and so on; not
  --module, --csv, --ca-file and the options of `zbulk sandbox`.
  Sizes: 25MB and 500kB are decimal, 25MiB, 512M and 1G are binary, a plain
  number is bytes. Durations: 90s, 30m, 1h30m, 7d.

Secrets:
  ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN, or
  ZOHO_ACCESS_TOKEN, in the environment; a file of mode 0600; or a command
  that prints an access token. The first of these places that gives anything
  is used: --credentials, the environment's ZOHO_*, ZBULK_CREDENTIALS,
  ZBULK_TOKEN_COMMAND, the user file's file or token_command under
  [credentials]. A secret is never an argument.";

pub(crate) const RUN: &str = "\
Check, plan, pack and upload, and keep a manifest of which chunk became which file_id.

All inputs are checked before the first byte is sent. A run that was stopped, whatever the reason, goes on when the \
same command is run again: chunks that have a file_id are not sent a second time.";
pub(crate) const RUN_EXAMPLES: &str = "\
Examples:
  zbulk run --sandbox                                  rehearse the job in zbulk.toml
  zbulk run jobs/crm.toml --dc eu --org 12345678
  zbulk run --module Contacts --csv contacts.csv --org 12345678
  zbulk run --rejects set-aside --bwlimit 20Mbit --json > result.json";

pub(crate) const CHECK: &str = "\
Find every problem of the inputs in one go, and show what would be sent.

Prints, for each input, records, bytes, dialect and widest record, and the records that cannot be sent by kind, with \
the first places. Ends with 3 if a run would stop. Nothing is sent and nothing is left behind.";
pub(crate) const CHECK_EXAMPLES: &str = "\
Examples:
  zbulk check
  zbulk check jobs/crm.toml --json
  zbulk check --module Contacts --csv contacts.csv";

pub(crate) const PLAN: &str = "\
Show what a run would send: every chunk with its records and bytes, the API credits of the bulk write jobs (500 a job), \
and the upload time at a given bandwidth.

Archive bytes and upload time are estimates: they are known only once the archives are built. Nothing is sent and \
nothing is left behind.";
pub(crate) const PLAN_EXAMPLES: &str = "\
Examples:
  zbulk plan
  zbulk plan --bandwidth 50Mbit
  zbulk plan jobs/crm.toml --json";

pub(crate) const PACK: &str = "\
Write the archives to DIR/archives and a manifest without file_ids. Nothing is sent.

`zbulk upload` sends them later, `zbulk verify` compares them with the inputs.";
pub(crate) const PACK_EXAMPLES: &str = "\
Examples:
  zbulk pack
  zbulk pack --level 9 --out /data/crm.zbulk";

pub(crate) const UPLOAD: &str = "\
Send the archives that `zbulk pack` wrote to DIR/archives, and note their file_ids in the manifest.

The inputs are not needed. Run it again and it goes on where it stopped.";
pub(crate) const UPLOAD_EXAMPLES: &str = "\
Examples:
  zbulk upload
  zbulk upload --out /data/crm.zbulk --dc in --org 12345678";

pub(crate) const STATUS: &str = "\
Show where a run stands, from its journal: chunks uploaded, failed, unknown and pending.

Neither inputs nor credentials are needed, and a run that is going on is not disturbed.";
pub(crate) const STATUS_EXAMPLES: &str = "\
Examples:
  zbulk status
  zbulk status --out /data/crm.zbulk --json";

pub(crate) const VERIFY: &str = "\
Read the archives again and compare them with the journal, and with the inputs where there is a job.

Damage is told by archive and entry.";
pub(crate) const VERIFY_EXAMPLES: &str = "\
Examples:
  zbulk verify
  zbulk verify --out /data/crm.zbulk";

pub(crate) const AUTH: &str = "\
Look at the access to Zoho, without uploading anything.";
pub(crate) const AUTH_CHECK: &str = "\
Show what the credentials give: a token, its scope, the organisation and its zgid; and what is missing for an upload.

Sends one request for a token, where there is none yet, and one for the organisation. Needs the scopes \
ZohoFiles.files.ALL for uploads and ZohoCRM.org.READ for the organisation.";
pub(crate) const AUTH_CHECK_EXAMPLES: &str = "\
Examples:
  zbulk auth check
  zbulk auth check --dc eu --credentials ~/.config/zbulk/credentials.toml";

pub(crate) const SANDBOX: &str = "\
Run the built-in stand-in for Zoho's upload, token and organisation endpoints on this machine.

The first line of output is one JSON object with upload_url, accounts_url, api_url, org, client_id, client_secret and \
refresh_token; these work nowhere else. It runs until Ctrl-C. Zoho's own SDKs work with it too.";
pub(crate) const SANDBOX_EXAMPLES: &str = "\
Examples:
  zbulk sandbox --dir /tmp/accepted
  zbulk sandbox --dir /tmp/accepted --listen 127.0.0.1:8400 --faults faults.toml --seed 7

A fault plan, every part of which may be left out:

  [limits]
  edition = \"professional\"           # calls at once: 15. Or concurrency = 15
  retry_after = 60                   # seconds asked of a call too many
  escalate = true                    # twice as long for who is back early
  read_bytes_per_second = 1_250_000  # all connections together

  [tokens]
  lifetime_seconds = 3600
  per_ten_minutes = 10

  [[rule]]                           # the first that fits is applied
  on = \"upload\"                      # or token, org
  request = 3                        # or every = 10, or probability = 0.05
  fault = \"lose_answer\"

  [[rule]]                           # fits each request
  fault = { answer = { code = \"TOO_MANY_REQUESTS\", retry_after = 5 } }

Faults:
  \"lose_answer\", \"no_file_id\", \"repeat_file_id\", \"numeric_file_id\",
  \"expire_tokens\", \"no_expires_in\", \"expires_in_ms\",
  { answer = { status, code, message, body, retry_after } }, { html = {} },
  { redirect = { location } }, { reset = { at_byte } },
  { stall = { at_byte, seconds } }, { slow_read = { bytes_per_second } },
  { slow_answer = { seconds } }, { cut_answer = { bytes } }";

pub(crate) const SCHEMA: &str = "\
Print the JSON Schema of a file that zbulk writes, for programs that read it.";

pub(crate) const COMPLETIONS: &str = "\
Print a completion script for a shell.";
pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  zbulk completions bash > ~/.local/share/bash-completion/completions/zbulk
  zbulk completions zsh > ~/.zfunc/_zbulk
  zbulk completions fish > ~/.config/fish/completions/zbulk.fish";

pub(crate) const MAN: &str = "\
Print the manual page, with all commands in it, in roff.";
pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  zbulk man | man -l -
  zbulk man > ~/.local/share/man/man1/zbulk.1";

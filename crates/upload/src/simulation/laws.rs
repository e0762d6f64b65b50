//! The laws every schedule must keep, each told from what the server wrote down and not from the client's own word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::schedule::{Fault, TokenFault};
use super::server::Seen;
use super::{Run, archive};
use crate::ErrorKind;

const CANARIES: [&str; 4] = ["canary-id", "canary-secret", "canary-refresh", "canary-tok"];

/// What this run breaks; empty when all is well.
pub(super) fn broken(run: &Run) -> Vec<String> {
    let mut broken = run.server.with(|state| state.violations.clone());
    let seen = run.server.with(|state| state.seen.clone());
    each_archive_has_one_outcome(run, &mut broken);
    each_success_is_a_body_the_server_has(run, &mut broken);
    each_failure_has_its_reason(run, &seen, &mut broken);
    no_archive_is_sent_after_its_success(&seen, &mut broken);
    orphans_are_not_understated(run, &seen, &mut broken);
    every_attempt_was_witnessed(run, &seen, &mut broken);
    few_tokens_are_asked_for(run, &mut broken);
    few_requests_are_made(run, &seen, &mut broken);
    no_secret_is_told(run, &mut broken);
    broken
}

fn each_archive_has_one_outcome(run: &Run, broken: &mut Vec<String>) {
    let names: BTreeSet<_> = run.outcomes.iter().map(|(name, _)| name).collect();
    if names.len() != run.schedule.chunks || run.outcomes.len() != run.schedule.chunks {
        broken.push(format!("{} archives have {} outcomes", run.schedule.chunks, run.outcomes.len()));
    }
}

pub(super) fn each_success_is_a_body_the_server_has(run: &Run, broken: &mut Vec<String>) {
    let files = run.server.with(|state| state.files.clone());
    let mut ids = BTreeSet::new();
    for (name, outcome) in &run.outcomes {
        let Ok(uploaded) = outcome else { continue };
        let id = uploaded.file_id.as_str();
        if !ids.insert(id) {
            broken.push(format!("file_id {id} stands for two archives"));
        }
        let chunk: usize = name["Contacts-".len()..name.len() - 4].parse().unwrap();
        match files.get(id) {
            Some((_, body)) if *body == archive(chunk) => {}
            Some((other, _)) => broken.push(format!("{name} has the file_id {id} of {other}")),
            None => broken.push(format!("{name} has a file_id {id} that the server never gave")),
        }
    }
}

/// An archive may only fail where something happened that justifies it.
fn each_failure_has_its_reason(run: &Run, seen: &[Seen], broken: &mut Vec<String>) {
    let met = |wanted: &dyn Fn(Fault) -> bool| seen.iter().any(|seen| seen.fault.is_some_and(wanted));
    for (name, outcome) in &run.outcomes {
        let Err(error) = outcome else { continue };
        let mine: Vec<&Seen> = seen.iter().filter(|seen| seen.archive == *name).collect();
        let justified = match &error.kind {
            ErrorKind::ChunkRefused => mine.last().is_some_and(|seen| {
                matches!(
                    seen.fault,
                    Some(
                        Fault::TooLarge | Fault::TooLargeAsInvalidData | Fault::NotAZip | Fault::UnknownCode
                    )
                )
            }),
            ErrorKind::RunRefused => met(&|fault| matches!(fault, Fault::Redirect | Fault::Certificate)),
            ErrorKind::Auth => {
                met(&|fault| fault == Fault::ScopeMismatch)
                    || two_refusals_in_a_row(seen)
                    || (0..run.server.token_calls() as u64 + 40)
                        .any(|call| run.schedule.token_faults.get(&call) == Some(&TokenFault::InvalidCode))
            }
            ErrorKind::Stopped { retry_after: Some(_) } => {
                met(&|fault| matches!(fault, Fault::CreditsGone | Fault::VeryLongWait))
                    || run.schedule.max_wait < Duration::from_mins(11)
                    || !run.schedule.token_faults.is_empty()
            }
            ErrorKind::Stopped { retry_after: None } => {
                unanswered(&mine) >= 8
                    || nothing_for_long(run, seen)
                    || met(&|fault| fault == Fault::CreditsGone)
            }
            ErrorKind::Witness | ErrorKind::Config | ErrorKind::Io => false,
        };
        if !justified
            || error.message.is_empty()
            || error.hint.is_none() && error.kind != ErrorKind::ChunkRefused
        {
            broken.push(format!("{name} failed without a reason: {error:?}"));
        }
    }
}

fn unauthorised(seen: &Seen) -> bool {
    matches!(seen.fault, Some(Fault::InvalidToken | Fault::BareUnauthorized | Fault::ExpireAllTokens))
}

/// Of one archive, with two tokens.
fn two_refusals_in_a_row(seen: &[Seen]) -> bool {
    let mut last: BTreeMap<&str, &Seen> = BTreeMap::new();
    seen.iter().any(|seen| {
        let before = last.insert(&seen.archive, seen);
        before.is_some_and(|before| unauthorised(before) && unauthorised(seen) && before.token != seen.token)
    })
}

fn unanswered(mine: &[&Seen]) -> usize {
    mine.iter()
        .filter(|seen| {
            matches!(
                seen.fault,
                Some(
                    Fault::Html { .. }
                        | Fault::CutJson
                        | Fault::NoFileId { .. }
                        | Fault::EmptyOk { .. }
                        | Fault::LostAnswer { .. }
                        | Fault::Silence { .. }
                        | Fault::NotHttp
                        | Fault::SameFileIdAgain
                        | Fault::EarlySuccess
                )
            )
        })
        .count()
}

fn nothing_for_long(run: &Run, seen: &[Seen]) -> bool {
    let mut last = run.server.begun;
    let mut longest = Duration::ZERO;
    let end = run.server.begun + run.took;
    for at in seen.iter().filter(|seen| seen.told).filter_map(|seen| seen.ended).chain([end]) {
        longest = longest.max(at.saturating_duration_since(last));
        last = last.max(at);
    }
    longest >= run.schedule.max_wait
}

fn no_archive_is_sent_after_its_success(seen: &[Seen], broken: &mut Vec<String>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for seen in seen {
        if done.contains(seen.archive.as_str()) {
            broken.push(format!("{} is sent again after its success", seen.archive));
        }
        if seen.told {
            done.insert(&seen.archive);
        }
    }
}

fn orphans_are_not_understated(run: &Run, seen: &[Seen], broken: &mut Vec<String>) {
    let told = run.ears.ambiguous.lock().unwrap();
    for (name, outcome) in &run.outcomes {
        let kept = seen.iter().filter(|seen| seen.archive == *name && seen.kept).count();
        let (orphans, reported) = match outcome {
            Ok(uploaded) => (kept - 1, uploaded.possible_orphans),
            Err(error) => (kept, error.possible_orphans),
        };
        if orphans > reported as usize {
            broken.push(format!("{name}: the server has {orphans} orphans, {reported} are reported"));
        }
        if told.iter().filter(|(archive, _)| archive == name).count() != reported as usize {
            broken.push(format!("{name}: the witness was not told of every possible orphan"));
        }
    }
}

fn every_attempt_was_witnessed(run: &Run, seen: &[Seen], broken: &mut Vec<String>) {
    let witnessed = run.ears.attempts.lock().unwrap();
    for (name, outcome) in &run.outcomes {
        let numbers: Vec<u32> =
            witnessed.iter().filter(|(archive, _)| archive == name).map(|(_, number)| *number).collect();
        let sent = seen.iter().filter(|seen| seen.archive == *name).count();
        let reported = match outcome {
            Ok(uploaded) => uploaded.attempts,
            Err(error) => error.attempts,
        } as usize;
        // An attempt that was recorded may have been stopped before it started.
        let stopped = usize::from(outcome.is_err());
        if numbers != (1..=reported as u32).collect::<Vec<_>>()
            || sent > reported
            || sent + stopped < reported
        {
            broken.push(format!("{name}: {sent} requests, {reported} reported, witnessed {numbers:?}"));
        }
    }
}

pub(super) fn few_tokens_are_asked_for(run: &Run, broken: &mut Vec<String>) {
    let times = run.server.with(|state| state.token_times.clone());
    for window in times.windows(9) {
        if window[8] - window[0] <= Duration::from_mins(10) {
            broken.push(format!("nine tokens within {:?}", window[8] - window[0]));
        }
    }
}

fn few_requests_are_made(run: &Run, seen: &[Seen], broken: &mut Vec<String>) {
    let faults = seen.iter().filter(|seen| seen.fault.is_some_and(|fault| fault != Fault::Slow)).count();
    let allowed = run.schedule.chunks + run.schedule.chunks / 4 + faults;
    if seen.len() > allowed {
        broken.push(format!(
            "{} requests for {} archives and {faults} faults",
            seen.len(),
            run.schedule.chunks
        ));
    }
}

pub(super) fn no_secret_is_told(run: &Run, broken: &mut Vec<String>) {
    let mut heard = run.ears.heard.lock().unwrap().clone();
    for (_, outcome) in &run.outcomes {
        heard.push(format!("{outcome:?}"));
        if let Err(error) = outcome {
            heard.push(format!("{error} {:?} {:?}", error.hint, error.code));
        }
    }
    for line in heard {
        if CANARIES.iter().any(|canary| line.contains(canary)) {
            broken.push(format!("a secret is told: {line}"));
        }
    }
}

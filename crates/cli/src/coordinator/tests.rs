//! What the owner of a run promises: durable first, told then; the first cause; the last word.

use std::time::Duration;

use tempfile::TempDir;
use upload::{ErrorKind, FileId};

use super::*;
use crate::args::CommandLine;
use crate::config::{Output, ProgressMode};
use crate::journal::fixture::{cut_off, header, name, packed, plan};
use crate::journal::state::UploadStatus;
use crate::output_dir::OutputDir;

/// A run of three chunks, all of them packed.
struct Run {
    temp: TempDir,
    _dir: OutputDir,
    coordinator: Coordinator,
    owner: Owner,
}

impl Run {
    fn start() -> Run {
        Run::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Journal)) -> Run {
        let temp = tempfile::tempdir().unwrap();
        let dir = OutputDir::enter(temp.path()).unwrap();
        let mut journal = Journal::create(&dir, header(), plan()).unwrap();
        for seq in 1..=3 {
            journal.append(packed(&name(seq), '4')).unwrap();
        }
        change(&mut journal);
        let path = temp.path().to_owned();
        let (coordinator, owner) = Coordinator::start(journal, path, silent(), Goal::Uploaded).unwrap();
        Run { temp, _dir: dir, coordinator, owner }
    }

    /// What another process would find now.
    fn durable(&self) -> State {
        Journal::read(self.temp.path()).unwrap().unwrap()
    }

    async fn finish(self, signal: Option<Signal>) -> (Ended, serde_json::Value) {
        let ended = self.coordinator.finish(self.owner, signal).await.unwrap();
        let manifest = std::fs::read(self.temp.path().join(crate::manifest::JSON_NAME)).unwrap();
        (ended, serde_json::from_slice(&manifest).unwrap())
    }
}

fn silent() -> Arc<Progress> {
    Progress::new(&Output {
        json: false,
        quiet: true,
        verbosity: 0,
        progress: ProgressMode::Never,
        color_stderr: false,
        command_line: CommandLine::default(),
        notes: Vec::new(),
    })
}

fn told(failure: &Failure) -> String {
    let mut text = Vec::new();
    failure.write_to(&mut text, crate::output::Paint(false)).unwrap();
    String::from_utf8(text).unwrap()
}

fn uploaded(file_id: &str) -> Uploaded {
    Uploaded {
        file_id: FileId::new(file_id).unwrap(),
        created_time: None,
        http_status: 200,
        code: "FILE_UPLOAD_SUCCESS".to_owned(),
        attempts: 1,
        elapsed: Duration::from_millis(5),
        possible_orphans: 0,
    }
}

fn error(kind: ErrorKind, attempts: u32) -> upload::Error {
    upload::Error {
        kind,
        message: "it went wrong".to_owned(),
        hint: None,
        http_status: Some(503),
        code: None,
        attempts,
        elapsed: Duration::ZERO,
        possible_orphans: 0,
        source: Some("a deeper cause".into()),
    }
}

#[tokio::test]
async fn an_attempt_and_its_outcome_are_durable_before_anybody_hears_of_them() {
    let run = Run::start();
    run.coordinator.attempt(&name(1), 1).await.unwrap();
    let chunk = run.durable().chunk(&name(1)).unwrap().upload();
    assert_eq!((chunk.state, chunk.attempts), (UploadStatus::Unknown, 1));
    run.coordinator.ambiguous(&name(1), 1).await.unwrap();
    assert_eq!(run.durable().chunk(&name(1)).unwrap().upload().possible_orphans, 1);
    run.coordinator.attempt(&name(1), 2).await.unwrap();
    assert_eq!(run.coordinator.outcome(name(1), Ok(uploaded("77"))).await, Verdict::GoOn);
    assert_eq!(run.durable().chunk(&name(1)).unwrap().file_id(), Some("77"));
    let (ended, manifest) = run.finish(None).await;
    assert_eq!((ended.exit, manifest["run"]["exit"].as_u64()), (ExitCode::Done, Some(0)));
    assert_eq!(manifest["chunks"][0]["upload"]["file_id"], "77");
    assert_eq!(manifest["chunks"][0]["upload"]["possible_orphans"], 1);
}

#[tokio::test]
async fn a_manifest_is_there_as_soon_as_the_plan_stands() {
    let run = Run::start();
    run.coordinator.attempt(&name(1), 1).await.unwrap();
    let manifest = std::fs::read(run.temp.path().join(crate::manifest::JSON_NAME)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["totals"]["pending"], 3);
    run.finish(None).await;
}

#[tokio::test]
async fn a_file_id_that_another_chunk_has_fails_the_chunk_and_nothing_else() {
    let run = Run::start();
    for seq in 1..=3 {
        run.coordinator.attempt(&name(seq), 1).await.unwrap();
    }
    run.coordinator.outcome(name(1), Ok(uploaded("77"))).await;
    assert_eq!(run.coordinator.outcome(name(2), Ok(uploaded("77"))).await, Verdict::GoOn);
    run.coordinator.outcome(name(3), Ok(uploaded("78"))).await;
    let (ended, manifest) = run.finish(None).await;
    assert_eq!(ended.exit, ExitCode::Refused);
    let upload = &manifest["chunks"][1]["upload"];
    assert_eq!((upload["state"].as_str(), upload["file_id"].as_str()), (Some("failed"), None));
    assert_eq!(upload["reason"], "the server gave it the file_id `77`, which another chunk has");
    assert_eq!(upload["possible_orphans"], 1, "its bytes are at the server");
    assert_eq!(manifest["totals"]["uploaded"], 2);
}

#[tokio::test]
async fn the_first_failure_is_kept_and_nothing_new_is_begun_after_it() {
    let run = Run::start();
    run.coordinator.attempt(&name(1), 1).await.unwrap();
    run.coordinator.fail(Failure::message(ExitCode::Auth, "first")).await;
    run.coordinator.fail(Failure::message(ExitCode::Stopped, "second")).await;
    assert!(run.coordinator.attempt(&name(2), 1).await.is_err());
    assert_eq!(run.coordinator.worse(Phase::Running).await, Phase::Draining);
    // What was on the wire is recorded all the same.
    run.coordinator.outcome(name(1), Ok(uploaded("77"))).await;
    let (ended, manifest) = run.finish(Some(Signal::Interrupt)).await;
    assert_eq!(ended.exit, ExitCode::Auth);
    assert_eq!(told(&ended.failure.unwrap()), "error: first\n");
    assert_eq!((&manifest["totals"]["uploaded"], &manifest["run"]["exit"]), (&1.into(), &4.into()));
}

#[tokio::test]
async fn errors_of_uploads_end_a_chunk_or_the_run_by_their_kind() {
    let table = [
        // (kind, attempts) → exit code, phase after it, state of the chunk
        (ErrorKind::ChunkRefused, 1, ExitCode::Refused, Phase::Running, "failed"),
        (ErrorKind::Stopped { retry_after: None }, 8, ExitCode::Stopped, Phase::Running, "failed"),
        (ErrorKind::Stopped { retry_after: None }, 0, ExitCode::Stopped, Phase::Draining, "pending"),
        (ErrorKind::RunRefused, 1, ExitCode::Refused, Phase::Draining, "failed"),
        (ErrorKind::Auth, 1, ExitCode::Auth, Phase::Draining, "failed"),
        (ErrorKind::Io, 0, ExitCode::Unexpected, Phase::Draining, "pending"),
    ];
    for (kind, attempts, exit, phase, state) in table {
        let run = Run::start();
        for attempt in 1..=attempts {
            run.coordinator.attempt(&name(1), attempt).await.unwrap();
        }
        run.coordinator.outcome(name(1), Err(error(kind.clone(), attempts))).await;
        assert_eq!(run.coordinator.phase(), phase, "{kind:?}");
        let (ended, manifest) = run.finish(None).await;
        assert_eq!(ended.exit, exit, "{kind:?}");
        let upload = &manifest["chunks"][0]["upload"];
        assert_eq!(upload["state"], state, "{kind:?}");
        if state == "failed" {
            assert_eq!(upload["reason"], "it went wrong: a deeper cause");
            assert_eq!(upload["http_status"], 503);
        }
    }
}

#[tokio::test]
async fn a_chunk_whose_next_attempt_was_refused_is_known_not_to_be_at_the_server() {
    let run = Run::start();
    run.coordinator.attempt(&name(1), 1).await.unwrap();
    run.coordinator.drain().await;
    assert!(run.coordinator.attempt(&name(1), 2).await.is_err());
    run.coordinator.outcome(name(1), Err(error(ErrorKind::Witness, 2))).await;
    run.coordinator.outcome(name(2), Err(error(ErrorKind::Witness, 1))).await;
    let (ended, manifest) = run.finish(Some(Signal::Terminate)).await;
    assert_eq!((ended.exit, ended.signal), (ExitCode::Terminated, Some(Signal::Terminate)));
    assert!(ended.failure.is_none());
    let states: Vec<&str> =
        (0..3).map(|at| manifest["chunks"][at]["upload"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "pending", "pending"]);
    assert_eq!(manifest["totals"]["possible_orphans"], 0);
}

#[tokio::test]
async fn a_signal_after_the_last_upload_has_stopped_nothing() {
    let run = Run::start();
    for seq in 1..=3 {
        run.coordinator.attempt(&name(seq), 1).await.unwrap();
        run.coordinator.outcome(name(seq), Ok(uploaded(&format!("7{seq}")))).await;
    }
    let (ended, manifest) = run.finish(Some(Signal::Interrupt)).await;
    assert_eq!((ended.exit, ended.signal), (ExitCode::Done, None));
    assert_eq!(manifest["run"]["exit"], 0);
}

#[tokio::test]
async fn after_a_failed_write_the_run_is_broken_and_the_manifest_tells_only_what_is_durable() {
    let run = Run::start_with(cut_off);
    assert!(run.coordinator.attempt(&name(1), 1).await.is_err());
    assert_eq!(run.coordinator.worse(Phase::Draining).await, Phase::Broken);
    assert!(run.coordinator.ambiguous(&name(1), 1).await.is_err());
    assert_eq!(run.coordinator.outcome(name(1), Ok(uploaded("77"))).await, Verdict::Stop);
    let durable = run.durable();
    let (ended, manifest) = run.finish(None).await;
    assert_eq!(ended.exit, ExitCode::Unexpected);
    let told = told(&ended.failure.unwrap());
    assert!(told.starts_with("error: cannot append to the journal"), "{told}");
    assert_eq!(ended.state.unwrap(), durable);
    assert_eq!(manifest["totals"]["pending"], 3);
    assert_eq!(manifest["run"]["exit"], serde_json::Value::Null);
}

#[test]
fn a_manifest_is_not_published_while_the_state_may_be_ahead_of_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = OutputDir::enter(temp.path()).unwrap();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    journal.append(packed(&name(1), '4')).unwrap();
    cut_off(&mut journal);
    let (phase, _phases) = watch::channel(Phase::Running);
    let mut desk = Desk {
        journal,
        dir: temp.path().to_owned(),
        progress: silent(),
        goal: Goal::Uploaded,
        phase,
        failure: None,
        failed: BTreeMap::new(),
        // Something durable has happened before the write that fails.
        stale: true,
    };
    assert!(!desk.append(Event::Attempt { chunk: name(1), attempt: 1 }));
    desk.publish();
    assert!(!temp.path().join(crate::manifest::JSON_NAME).exists());
    let ended = desk.end(None);
    assert_eq!(ended.state.unwrap().chunk(&name(1)).unwrap().status(), UploadStatus::Pending);
    assert!(temp.path().join(crate::manifest::JSON_NAME).exists());
}

#[test]
fn a_process_that_did_nothing_adds_nothing_to_the_journal_of_a_run_that_has_ended() {
    let temp = tempfile::tempdir().unwrap();
    let dir = OutputDir::enter(temp.path()).unwrap();
    let mut journal =
        Journal::create(&dir, header(), crate::journal::event::Plan { chunks: Vec::new() }).unwrap();
    journal.append(Event::Finished { exit: 0 }).unwrap();
    drop(journal);
    let bytes = || std::fs::read(temp.path().join(crate::journal::FILE_NAME)).unwrap();
    let before = bytes();
    let journal = Journal::open(&dir).unwrap().unwrap();
    let path = temp.path().to_owned();
    let (coordinator, owner) = Coordinator::start(journal, path, silent(), Goal::Uploaded).unwrap();
    let ended = tokio::runtime::Runtime::new().unwrap().block_on(coordinator.finish(owner, None)).unwrap();
    assert_eq!((ended.exit, bytes()), (ExitCode::Done, before));
}

#[tokio::test]
async fn a_manifest_that_cannot_be_written_ends_the_run_but_not_its_journal() {
    let temp = tempfile::tempdir().unwrap();
    let dir = OutputDir::enter(temp.path()).unwrap();
    std::fs::create_dir_all(temp.path().join(crate::manifest::JSON_NAME).join("x")).unwrap();
    let journal = Journal::create(&dir, header(), plan()).unwrap();
    let path = temp.path().to_owned();
    let (coordinator, owner) = Coordinator::start(journal, path, silent(), Goal::Uploaded).unwrap();
    assert_eq!(coordinator.worse(Phase::Running).await, Phase::Draining);
    let ended = coordinator.finish(owner, None).await.unwrap();
    assert_eq!(ended.exit, ExitCode::Unexpected);
    assert_eq!(Journal::read(temp.path()).unwrap().unwrap().finished, Some(1));
}

#[tokio::test]
async fn whoever_comes_after_the_end_is_told_to_stop() {
    let run = Run::start();
    let late = run.coordinator.clone();
    run.finish(None).await;
    assert!(late.attempt(&name(1), 1).await.is_err());
    assert_eq!(late.outcome(name(1), Ok(uploaded("77"))).await, Verdict::Stop);
    assert_eq!(late.worse(Phase::Draining).await, Phase::Broken);
}

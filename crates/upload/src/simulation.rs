//! The whole conduct over a simulated carrier, under a paused clock: seeded schedules of faults, each checked against
//! the laws in `laws`. What is seeded replays: the same seed gives the same schedule, the same order, the same end.
//!
//! `ZBULK_SIMULATION_SEED` replays one seed, `ZBULK_SIMULATION_SCHEDULES` sets how many are run that meet at least ten
//! kinds of fault; those that end before are checked too, and not counted.

mod laws;
mod schedule;
mod server;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::{
    BoxFuture, Client, ClientConfig, Credentials, DataCentre, Error, RefreshCredentials, Refused, Reporter,
    Target, Uploaded, Witness,
};
use schedule::Schedule;
use server::Server;

/// A clock that stands at a date for each run.
const NOON: Duration = Duration::from_secs(1_795_000_000);
/// No schedule may take longer, in the clock's own time.
const ENDLESS: Duration = Duration::from_hours(96);

/// Everything that was written or told: none of it may hold a secret.
#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<String>>,
    attempts: Mutex<Vec<(String, u32)>>,
    ambiguous: Mutex<Vec<(String, u32)>>,
}

impl Reporter for Ears {
    fn notice(&self, message: &str) {
        self.heard.lock().unwrap().push(message.to_owned());
    }
}

impl Witness for Ears {
    fn attempt<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            // A journal takes its time to be durable.
            tokio::time::sleep(Duration::from_millis(3)).await;
            self.attempts.lock().unwrap().push((archive.to_owned(), attempt));
            Ok(())
        })
    }
    fn ambiguous<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            self.ambiguous.lock().unwrap().push((archive.to_owned(), attempt));
            Ok(())
        })
    }
}

/// What one schedule came to.
struct Run {
    schedule: Schedule,
    server: Arc<Server>,
    ears: Arc<Ears>,
    outcomes: Vec<(String, Result<Uploaded, Error>)>,
    /// The clock's own time.
    took: Duration,
}

fn name(chunk: usize) -> String {
    format!("Contacts-{chunk:05}.zip")
}

fn archive(chunk: usize) -> Bytes {
    Bytes::from(format!("PK the archive of chunk {chunk} ").repeat(3 + chunk % 5))
}

fn config(schedule: &Schedule) -> ClientConfig {
    let refresh = RefreshCredentials {
        client_id: "canary-id".into(),
        client_secret: "canary-secret".into(),
        refresh_token: "canary-refresh".into(),
    };
    ClientConfig {
        target: Target::of(DataCentre::Us, "v2", "808232144").unwrap(),
        credentials: Credentials {
            access_token: schedule.given_token.then(|| server::GIVEN.into()),
            refresh: Some(refresh),
            token_command: None,
        },
        concurrency: schedule.concurrency,
        starts_per_second: schedule.starts_per_second,
        bwlimit: None,
        max_wait: schedule.max_wait,
        https_proxy: None,
        no_proxy: None,
        extra_ca_pem: Vec::new(),
        user_agent: "zbulk/0".to_owned(),
        refresh_log: None,
    }
}

fn run(schedule: Schedule) -> Run {
    run_with(schedule, false)
}

/// Every upload is given up now and then, and begun anew.
fn run_impatiently(schedule: Schedule) -> Run {
    run_with(schedule, true)
}

fn run_with(schedule: Schedule, impatient: bool) -> Run {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let server = Arc::new(Server::new(schedule.clone()));
        let ears = Arc::new(Ears::default());
        let client = Client::over(
            Arc::clone(&server) as _,
            config(&schedule),
            schedule.seed,
            SystemTime::UNIX_EPOCH + NOON,
            Arc::clone(&ears) as _,
        )
        .unwrap();
        let client = Arc::new(client);
        let queue: Arc<Mutex<VecDeque<usize>>> = Arc::new(Mutex::new((0..schedule.chunks).collect()));
        let workers: Vec<_> = (0..schedule.workers)
            .map(|worker| {
                let mut rng = StdRng::seed_from_u64(schedule.seed ^ (worker as u64) << 32);
                let (client, queue, ears) = (Arc::clone(&client), Arc::clone(&queue), Arc::clone(&ears));
                tokio::spawn(async move {
                    let mut outcomes = Vec::new();
                    loop {
                        let next = queue.lock().unwrap().pop_front();
                        let Some(chunk) = next else { return outcomes };
                        let name = name(chunk);
                        let mut patience = if impatient { rng.random_range(0..6) } else { 0 };
                        let outcome = loop {
                            let upload = client.upload(&name, archive(chunk), &*ears);
                            if patience == 0 {
                                break upload.await;
                            }
                            patience -= 1;
                            let most = [20, 400, 1500, 70_000][rng.random_range(0..4)];
                            let limit = Duration::from_millis(rng.random_range(0..most));
                            if let Ok(outcome) = tokio::time::timeout(limit, upload).await {
                                break outcome;
                            }
                        };
                        outcomes.push((name, outcome));
                    }
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for worker in workers {
            let left = ENDLESS.saturating_sub(begun.elapsed());
            outcomes.extend(tokio::time::timeout(left, worker).await.expect("it ends").unwrap());
        }
        Run { schedule, server, ears, outcomes, took: begun.elapsed() }
    })
}

fn check(seed: u64) -> Result<Run, String> {
    let run = run(Schedule::seeded(seed));
    match laws::broken(&run) {
        broken if broken.is_empty() => Ok(run),
        broken => Err(format!(
            "seed {seed} breaks:\n  {}\nreplay: ZBULK_SIMULATION_SEED={seed} cargo test -p upload simulation\n{:#?}\n{}",
            broken.join("\n  "),
            run.schedule,
            run.server.story(),
        )),
    }
}

#[test]
fn every_schedule_of_faults_keeps_the_laws() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    if let Some(seed) = number("ZBULK_SIMULATION_SEED") {
        let run = check(seed).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{}\n{:#?}", run.server.story(), run.outcomes);
        return;
    }
    let wanted = number("ZBULK_SIMULATION_SCHEDULES").unwrap_or(2000);
    let mut kinds = std::collections::BTreeMap::new();
    let mut ends = std::collections::BTreeMap::new();
    let (mut uploaded, mut chunks, mut varied, mut seed) = (0, 0, 0, 0);
    while varied < wanted {
        let run = check(seed).unwrap_or_else(|broken| panic!("{broken}"));
        uploaded += run.outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        assert!(run.schedule.chunks >= 20);
        chunks += run.schedule.chunks;
        for (_, outcome) in &run.outcomes {
            if let Err(error) = outcome {
                let what: String = error.message.chars().take(44).collect();
                *ends.entry(what).or_insert(0_u64) += 1;
            }
        }
        let met = run.server.kinds_met();
        varied += u64::from(met.len() >= 10);
        for kind in met {
            *kinds.entry(kind).or_insert(0_u64) += 1;
        }
        seed += 1;
        assert!(seed < 2 * wanted + 100, "most schedules meet ten kinds of fault: {varied} of {seed}");
    }
    println!(
        "{seed} schedules, {varied} of them met ten kinds of fault or more; {uploaded} of {chunks} archives uploaded; \
         schedules that met each fault: {kinds:#?}\nfailures: {ends:#?}"
    );
    assert!(wanted < 100 || kinds.len() >= 20, "{kinds:#?}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [3, 17, 99] {
        let (one, other) = (run(Schedule::seeded(seed)), run(Schedule::seeded(seed)));
        assert_eq!(one.server.story(), other.server.story());
        assert_eq!(one.took, other.took);
    }
}

#[test]
fn without_faults_each_archive_is_sent_once() {
    let run = run(Schedule { chunks: 50, ..Schedule::calm(1) });
    assert_eq!(laws::broken(&run), Vec::<String>::new());
    assert_eq!(run.server.uploads(), 50);
    assert_eq!(run.server.token_calls(), 1);
    assert!(run.outcomes.iter().all(|(_, outcome)| outcome.as_ref().is_ok_and(|done| done.attempts == 1)));
}

#[test]
fn sixteen_workers_that_meet_401_at_once_make_one_refresh() {
    let schedule =
        Schedule { workers: 16, concurrency: 16, chunks: 32, given_token: true, ..Schedule::calm(2) };
    let schedule = Schedule { given_is_expired: true, ..schedule };
    let run = run(schedule);
    assert_eq!(laws::broken(&run), Vec::<String>::new());
    assert_eq!(run.server.token_calls(), 1);
    assert_eq!(run.server.uploads(), 32 + 16);
    assert!(run.outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn an_outage_of_ten_minutes_is_waited_out_with_few_requests() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let schedule = Schedule { chunks: 40, ..Schedule::calm(seed) };
        let from = Duration::from_millis(rng.random_range(500..3000));
        let schedule = Schedule { outage: Some((from, from + Duration::from_mins(10))), ..schedule };
        let run = run(schedule);
        assert_eq!(laws::broken(&run), Vec::<String>::new(), "seed {seed}\n{}", run.server.story());
        assert!(run.outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "seed {seed}");
        let in_vain = run.server.uploads() - 40;
        assert!(in_vain <= 30, "seed {seed}: {in_vain} requests into the outage");
        assert!(run.took < Duration::from_mins(13), "seed {seed}: {:?}", run.took);
    }
}

#[test]
fn an_outage_that_does_not_end_stops_the_run_after_max_wait() {
    let schedule = Schedule { outage: Some((Duration::ZERO, ENDLESS)), ..Schedule::calm(5) };
    let run = run(schedule);
    assert_eq!(laws::broken(&run), Vec::<String>::new());
    let minutes = run.took.as_secs() / 60;
    assert!((30..=31).contains(&minutes), "{:?}", run.took);
    for (_, outcome) in &run.outcomes {
        let error = outcome.as_ref().unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::Stopped { retry_after: None });
    }
}

/// Whoever gives uploads up in mid-flight, at any moment, must find the throttle and the tokens as they should be.
#[test]
fn uploads_given_up_at_any_moment_leak_nothing() {
    for seed in 0..300 {
        let schedule = Schedule { outage: None, ..Schedule::seeded(seed) };
        let schedule = Schedule {
            // Only what passes: a run that has ended for good has nothing to show here.
            faults: schedule
                .faults
                .into_iter()
                .filter(|(_, fault)| fault.passes() && !fault.asks_in_its_body())
                .collect(),
            token_faults: schedule.token_faults.into_iter().filter(|(_, fault)| fault.passes()).collect(),
            max_wait: Duration::from_hours(12),
            given_token: false,
            ..schedule
        };
        let run = run_impatiently(schedule);
        let mut broken = run.server.with(|state| state.violations.clone());
        laws::few_tokens_are_asked_for(&run, &mut broken);
        laws::each_success_is_a_body_the_server_has(&run, &mut broken);
        laws::no_secret_is_told(&run, &mut broken);
        assert!(broken.is_empty(), "seed {seed}: {broken:#?}\n{}", run.server.story());
        for (name, outcome) in &run.outcomes {
            // So often sent without an answer, an archive is given up; anything else passes.
            let given_up =
                outcome.as_ref().is_err_and(|error| error.message.starts_with("sent 8 times and never told"));
            assert!(outcome.is_ok() || given_up, "seed {seed}: {name} {outcome:?}\n{}", run.server.story());
        }
    }
}

/// One archive, and the same fault for each of its requests.
fn nothing_but(fault: schedule::Fault) -> Run {
    let schedule = Schedule { chunks: 1, max_wait: Duration::from_hours(12), ..Schedule::calm(7) };
    run(Schedule { faults: (0..1000).map(|request| (request, fault)).collect(), ..schedule })
}

#[test]
fn an_archive_that_is_never_answered_is_sent_eight_times() {
    for fault in [schedule::Fault::LostAnswer { kept: true }, schedule::Fault::Html { kept: true }] {
        let run = nothing_but(fault);
        assert_eq!(laws::broken(&run), Vec::<String>::new());
        let error = run.outcomes[0].1.as_ref().unwrap_err();
        assert_eq!((run.server.uploads(), error.possible_orphans), (8, 8));
        assert_eq!(error.kind, crate::ErrorKind::Stopped { retry_after: None });
        assert!(error.message.starts_with("sent 8 times and never told the outcome"), "{error}");
    }
}

#[test]
fn a_second_401_in_a_row_ends_the_run() {
    let run = nothing_but(schedule::Fault::InvalidToken);
    assert_eq!(laws::broken(&run), Vec::<String>::new());
    assert_eq!((run.server.uploads(), run.server.token_calls()), (2, 2));
    assert_eq!(run.outcomes[0].1.as_ref().unwrap_err().kind, crate::ErrorKind::Auth);
}

#[test]
fn what_cannot_have_been_accepted_is_sent_again_for_as_long_as_it_takes() {
    for fault in [schedule::Fault::ResetMidBody, schedule::Fault::RequestTimeout, schedule::Fault::Refused] {
        let run = nothing_but(fault);
        let error = run.outcomes[0].1.as_ref().unwrap_err();
        assert!(
            run.server.uploads() > 100 && error.possible_orphans == 0,
            "{fault:?}: {}",
            run.server.uploads()
        );
        assert!(error.message.starts_with("nothing was accepted for 43200 s; the last time"), "{error}");
        let heard = run.ears.heard.lock().unwrap();
        let rests =
            heard.iter().filter_map(|line| line.split("again in ").nth(1)?.split(' ').next()?.parse().ok());
        let longest = rests.fold(0.0, f64::max);
        assert!((30.0..=60.0).contains(&longest), "rests grow up to a minute: {longest}");
    }
}

#[test]
fn after_a_refusal_of_the_run_nobody_starts_any_more() {
    for fault in [schedule::Fault::ScopeMismatch, schedule::Fault::Redirect, schedule::Fault::CreditsGone] {
        let calm = Schedule { chunks: 40, starts_per_second: 0.0, ..Schedule::calm(11) };
        let run = run(Schedule { faults: [(0, fault)].into(), ..calm });
        assert_eq!(laws::broken(&run), Vec::<String>::new());
        // Those in flight come to their end.
        let first = run.outcomes.iter().find(|(name, _)| *name == self::name(0)).unwrap();
        let first = first.1.as_ref().unwrap_err();
        let done = run.outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        assert!(run.server.uploads() == done + 1 && done < 20, "{fault:?}: {done}");
        for (_, outcome) in &run.outcomes {
            if let Err(error) = outcome {
                assert_eq!((&error.kind, &error.message), (&first.kind, &first.message));
            }
        }
    }
}

#[test]
fn a_token_that_ends_while_its_worker_waits_is_renewed_before_the_request() {
    let calm = Schedule { chunks: 6, starts_per_second: 0.005, ..Schedule::calm(3) };
    let short = (0..20).map(|request| (request, schedule::TokenFault::ShortLife)).collect();
    let run = run(Schedule { token_faults: short, ..calm });
    assert_eq!(laws::broken(&run), Vec::<String>::new());
    assert_eq!(run.server.uploads(), 6, "{}", run.server.story());
    assert!(run.took < Duration::from_secs(1100), "{:?}", run.took);
}

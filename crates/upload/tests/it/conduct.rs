//! The client against the sandbox, over TCP: whatever goes wrong on the way, each archive ends under one `file_id`
//! whose bytes the server has, and what may lie there twice is counted.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use upload::sandbox::{Endpoint, Sandbox, SandboxConfig};
use upload::{
    Client, ClientConfig, Credentials, DataCentre, Error, ErrorKind, RefreshCredentials, Target, Timeouts,
    Uploaded,
};

use crate::requests::Seen;
use crate::sandbox_client::{archive, archive_of_bytes};

const SHORT: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    stall: Duration::from_secs(2),
    silence: Duration::from_secs(2),
};

struct Rehearsal {
    sandbox: Sandbox,
    dir: tempfile::TempDir,
    client: Arc<Client>,
}

impl Rehearsal {
    async fn start(faults: &str, seed: u64) -> Rehearsal {
        Rehearsal::start_with(faults, seed, |config| config).await
    }

    async fn start_with(
        faults: &str,
        seed: u64,
        change: impl FnOnce(ClientConfig) -> ClientConfig,
    ) -> Rehearsal {
        Rehearsal::start_within(faults, seed, change, SHORT).await
    }

    async fn start_within(
        faults: &str,
        seed: u64,
        change: impl FnOnce(ClientConfig) -> ClientConfig,
        timeouts: Timeouts,
    ) -> Rehearsal {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(SandboxConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            dir: dir.path().join("kept"),
            faults: Some(faults.to_owned()),
            seed,
        })
        .await
        .unwrap();
        let target = Target::of(DataCentre::Us, "v2", sandbox.org())
            .and_then(|target| target.with_upload_url(&sandbox.upload_url()))
            .and_then(|target| target.with_accounts_url(&sandbox.accounts_url()))
            .and_then(|target| target.with_api_url(&sandbox.api_url()))
            .unwrap();
        let refresh = RefreshCredentials {
            client_id: sandbox.client_id().into(),
            client_secret: sandbox.client_secret().into(),
            refresh_token: sandbox.refresh_token().into(),
        };
        let config = change(ClientConfig {
            target,
            credentials: Credentials { refresh: Some(refresh), ..Credentials::default() },
            concurrency: 4,
            starts_per_second: 0.0,
            bwlimit: None,
            max_wait: Duration::from_mins(5),
            https_proxy: None,
            no_proxy: None,
            extra_ca_pem: Vec::new(),
            user_agent: "zbulk/0.0.0".to_owned(),
            refresh_log: Some(dir.path().join("refreshes")),
        });
        let client = Arc::new(Client::with_timeouts(config, timeouts, Arc::new(())).unwrap());
        Rehearsal { sandbox, dir, client }
    }

    /// All at once; the client holds back what is too much.
    async fn upload(&self, archives: usize) -> Vec<Result<Uploaded, Error>> {
        let uploads = (0..archives).map(|number| async move {
            let name = format!("Leads-{number:05}.zip");
            self.client.upload(&name, leads(number), &Seen::default()).await
        });
        futures_util::future::join_all(uploads).await
    }

    fn kept(&self, uploaded: &Uploaded) -> Vec<u8> {
        std::fs::read(self.dir.path().join(format!("kept/{}.zip", uploaded.file_id))).unwrap()
    }

    fn kept_count(&self) -> usize {
        self.dir.path().join("kept").read_dir().unwrap().count()
    }

    /// What must hold after any uploads that all succeeded.
    fn check(&self, outcomes: Vec<Result<Uploaded, Error>>) {
        let mut ids = BTreeSet::new();
        let mut possible_orphans = 0;
        let archives = outcomes.len();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let uploaded = outcome.unwrap();
            assert!(self.kept(&uploaded) == leads(number), "the bytes of archive {number}");
            possible_orphans += uploaded.possible_orphans as usize;
            ids.insert(uploaded.file_id);
        }
        assert_eq!(ids.len(), archives, "no file_id for two");
        let orphans = self.kept_count() - archives;
        assert!(orphans <= possible_orphans, "{orphans} orphans, {possible_orphans} reported");
        let early: Vec<_> = self.sandbox.requests().into_iter().filter(|request| request.early).collect();
        assert!(early.is_empty(), "requests inside a Retry-After: {early:#?}");
    }

    fn requests(&self, endpoint: Endpoint) -> usize {
        self.sandbox.requests().iter().filter(|request| request.endpoint == endpoint).count()
    }
}

/// An archive that the sandbox takes, another for each number.
fn leads(number: usize) -> Bytes {
    let mut csv = "Last_Name,Key\n".to_owned();
    for record in 0..2000 {
        writeln!(csv, "Adler {number},key{record}").unwrap();
    }
    Bytes::from(archive(&[("Leads.csv", &csv)]))
}

fn once(fault: &str) -> String {
    format!("[[rule]]\nrequest = 1\nfault = {fault}\n")
}

#[tokio::test]
async fn all_goes_well_where_nothing_is_wrong() {
    let rehearsal = Rehearsal::start("", 1).await;
    let outcomes = rehearsal.upload(12).await;
    rehearsal.check(outcomes);
    assert_eq!((rehearsal.requests(Endpoint::Upload), rehearsal.requests(Endpoint::Token)), (12, 1));
    assert_eq!(rehearsal.kept_count(), 12);
}

#[tokio::test]
async fn each_fault_is_met_as_it_deserves() {
    // The fault; attempts; possible orphans; archives kept.
    let recovered = [
        (r"{ html = { status = 200 } }", 2, 1, 1),
        (r"{ cut_answer = {} }", 2, 1, 2),
        (r"{ cut_answer = { break_off = true } }", 2, 1, 2),
        (r#""no_file_id""#, 2, 1, 2),
        (r#"{ answer = { status = 200, code = "INTERNAL_ERROR" } }"#, 2, 0, 1),
        (r#""expire_tokens""#, 2, 0, 1),
        (r#"{ answer = { status = 401, code = "INVALID_TOKEN" } }"#, 2, 0, 1),
        (r#"{ answer = { status = 429, code = "TOO_MANY_REQUESTS", retry_after = 1 } }"#, 2, 0, 1),
        (r#"{ answer = { status = 429, code = "TOO_MANY_REQUESTS", retry_after_date = 1 } }"#, 2, 0, 1),
        (r"{ answer = { status = 503 } }", 2, 0, 1),
        (r"{ answer = { status = 503, retry_after = 1 } }", 2, 0, 1),
        (r"{ slow_answer = { seconds = 20 } }", 2, 1, 2),
        (r#""lose_answer""#, 2, 1, 2),
        (r#""numeric_file_id""#, 1, 0, 1),
        (r"{ slow_read = { bytes_per_second = 20000 } }", 1, 0, 1),
        (r"{ stall = { at_byte = 100, seconds = 0.5 } }", 1, 0, 1),
    ];
    let runs = recovered.map(|(fault, attempts, possible_orphans, kept)| async move {
        let rehearsal = Rehearsal::start(&once(fault), 1).await;
        let outcomes = rehearsal.upload(1).await;
        let uploaded = outcomes[0].as_ref().unwrap_or_else(|error| panic!("{fault}: {error:?}"));
        assert_eq!((uploaded.attempts, uploaded.possible_orphans), (attempts, possible_orphans), "{fault}");
        assert_eq!(rehearsal.kept_count(), kept, "{fault}");
        rehearsal.check(outcomes);
    });
    futures_util::future::join_all(runs).await;
    let refused = [
        (r#"{ answer = { status = 200, code = "INVALID_FILE_FORMAT" } }"#, ErrorKind::ChunkRefused),
        (r#"{ answer = { status = 413, code = "FILE_TOO_LARGE" } }"#, ErrorKind::ChunkRefused),
        (r#"{ answer = { status = 400, code = "SOMETHING_NEW", message = "?" } }"#, ErrorKind::ChunkRefused),
        (r#"{ answer = { status = 401, code = "OAUTH_SCOPE_MISMATCH" } }"#, ErrorKind::Auth),
        (r#"{ answer = { status = 403, code = "NO_PERMISSION" } }"#, ErrorKind::Auth),
        (r#"{ answer = { status = 400, code = "AUTHORIZATION_FAILED" } }"#, ErrorKind::Auth),
        (r#"{ answer = { status = 404, code = "INVALID_URL_PATTERN" } }"#, ErrorKind::RunRefused),
        (r"{ redirect = {} }", ErrorKind::RunRefused),
        (
            r#"{ answer = { status = 429, code = "TOO_MANY_REQUESTS", retry_after = 86400 } }"#,
            ErrorKind::Stopped { retry_after: Some(Duration::from_hours(24)) },
        ),
        (
            r#"{ answer = { status = 429, code = "LIMIT_EXCEEDED" } }"#,
            ErrorKind::Stopped { retry_after: None },
        ),
    ];
    for (fault, kind) in refused {
        let rehearsal = Rehearsal::start(&once(fault), 1).await;
        let error = rehearsal.upload(1).await.remove(0).unwrap_err();
        assert_eq!(error.kind, kind, "{fault}");
        assert!(error.hint.is_some() || fault.contains("SOMETHING_NEW"), "{fault}");
        assert_eq!((error.attempts, rehearsal.requests(Endpoint::Upload)), (1, 1), "{fault}");
    }
}

#[tokio::test]
async fn a_reset_within_the_body_is_met_with_the_same_body_again() {
    let resets = [0, 1, 1000, 10_000].map(|at| async move {
        let rehearsal = Rehearsal::start(&once(&format!("{{ reset = {{ at_byte = {at} }} }}")), 1).await;
        let outcomes = rehearsal.upload(1).await;
        assert_eq!(outcomes[0].as_ref().unwrap().attempts, 2);
        rehearsal.check(outcomes);
    });
    futures_util::future::join_all(resets).await;
}

#[tokio::test]
async fn a_file_id_given_twice_is_believed_once() {
    let rehearsal = Rehearsal::start("[[rule]]\nrequest = 3\nfault = \"repeat_file_id\"", 1).await;
    let mut outcomes = Vec::new();
    for number in 0..4 {
        outcomes.push(rehearsal.client.upload("a.zip", leads(number), &Seen::default()).await);
    }
    assert_eq!(outcomes[2].as_ref().unwrap().possible_orphans, 1);
    rehearsal.check(outcomes);
}

#[tokio::test]
async fn tokens_that_end_all_at_once_are_renewed_once() {
    let rehearsal = Rehearsal::start("", 1).await;
    let outcomes = rehearsal.upload(4).await;
    rehearsal.check(outcomes);
    rehearsal.sandbox.expire_tokens();
    let outcomes = rehearsal.upload(4).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(rehearsal.requests(Endpoint::Token), 2);
    let log = std::fs::read_to_string(rehearsal.dir.path().join("refreshes")).unwrap();
    assert_eq!(log.lines().count(), 2);
}

#[tokio::test]
async fn more_calls_than_the_edition_allows_are_held_back() {
    let faults = "[limits]\nedition = \"free\"\nretry_after = 1\nescalate = true\n\
                  [[rule]]\nfault = { slow_answer = { seconds = 0.3 } }\n";
    let rehearsal =
        Rehearsal::start_with(faults, 1, |config| ClientConfig { concurrency: 12, ..config }).await;
    let outcomes = rehearsal.upload(30).await;
    rehearsal.check(outcomes);
    let refused = rehearsal.sandbox.requests().iter().filter(|request| request.status == Some(429)).count();
    assert!((1..=12).contains(&refused), "{refused} calls too many");
}

#[tokio::test]
async fn faults_from_a_seed_end_in_the_same_files() {
    let faults = r#"
        [[rule]]
        probability = 0.06
        fault = { reset = { at_byte = 9000 } }
        [[rule]]
        probability = 0.04
        fault = { reset = { at_byte = 300 } }
        [[rule]]
        probability = 0.05
        fault = "lose_answer"
        [[rule]]
        probability = 0.05
        fault = { cut_answer = { break_off = true } }
        [[rule]]
        probability = 0.05
        fault = { stall = { at_byte = 5000, seconds = 4 } }
        [[rule]]
        probability = 0.05
        fault = { slow_read = { bytes_per_second = 20000 } }
        [[rule]]
        probability = 0.05
        fault = { answer = { status = 503, at_byte = 4000, then = "close" } }
        [[rule]]
        probability = 0.03
        fault = { answer = { status = 429, code = "TOO_MANY_REQUESTS", retry_after = 1 } }
        [[rule]]
        probability = 0.02
        fault = "expire_tokens"
        [limits]
        escalate = true
    "#;
    let runs = (0..25).map(|seed| async move {
        let rehearsal = Rehearsal::start(faults, seed).await;
        let outcomes = rehearsal.upload(8).await;
        for outcome in &outcomes {
            assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
        }
        rehearsal.check(outcomes);
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn auth_check_says_what_is_there_and_what_is_missing() {
    let rehearsal = Rehearsal::start("", 1).await;
    let report = rehearsal.client.check_auth().await.unwrap();
    assert_eq!(report.org.as_deref(), Some(rehearsal.sandbox.org()));
    assert_eq!(report.missing, Vec::<String>::new());
    let other = |config: ClientConfig| ClientConfig {
        target: Target { org: "1".to_owned(), ..config.target },
        ..config
    };
    let rehearsal = Rehearsal::start_with("[tokens]\nscope = \"ZohoCRM.org.READ\"\n", 1, other).await;
    let report = rehearsal.client.check_auth().await.unwrap();
    assert_eq!(report.missing.len(), 2, "{:#?}", report.missing);
    assert!(report.missing[0].starts_with("scope: ZohoFiles.files.ALL"));
    assert!(report.missing[1].starts_with("org: the token is for"));
}

/// A measurement: `cargo test --release -p upload --features sandbox --test it narrow_line -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of ten seconds and more"]
async fn a_narrow_line_is_kept_full() {
    for megabits in [10_u64, 50] {
        let bytes_per_second = megabits * 1_000_000 / 8;
        let faults =
            format!("[limits]\nread_bytes_per_second = {bytes_per_second}\n[checks]\ncontent = false\n");
        // Nothing but the line makes anybody wait here, and it does so as long as it takes.
        let rehearsal = Rehearsal::start_within(&faults, 1, |config| config, Timeouts::default()).await;
        let client = &rehearsal.client;
        let archive = Bytes::from(archive_of_bytes(1_000_000));
        let archives = if megabits == 10 { 12 } else { 60 };
        let begun = std::time::Instant::now();
        let uploads = (0..archives).map(|_| async {
            client.upload("a.zip", archive.clone(), &Seen::default()).await.unwrap().attempts
        });
        let attempts = futures_util::future::join_all(uploads).await;
        assert!(attempts.iter().all(|&attempts| attempts == 1), "{attempts:?}");
        let took = begun.elapsed().as_secs_f64();
        let least = (archives * archive.len()) as f64 / bytes_per_second as f64;
        println!("{megabits} Mbit/s: {took:.2} s, at least {least:.2} s, {:.3}", took / least);
        assert!(took <= least * 1.05);
    }
}

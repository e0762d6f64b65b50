use super::*;
use crate::ErrorKind;

/// Keeps what was told.
#[derive(Default)]
struct Told {
    notices: Mutex<Vec<String>>,
    limits: Mutex<Vec<usize>>,
}

impl Reporter for Told {
    fn notice(&self, message: &str) {
        self.notices.lock().unwrap().push(message.to_owned());
    }
    fn concurrency(&self, now: usize) {
        self.limits.lock().unwrap().push(now);
    }
}

fn throttle(concurrency: usize) -> (Arc<Throttle>, Arc<Told>) {
    let told = Arc::new(Told::default());
    let pacing = Pacing { concurrency, spacing: Duration::ZERO, max_wait: Duration::from_mins(30) };
    (Throttle::new(pacing, Arc::clone(&told) as _), told)
}

async fn started(throttle: &Arc<Throttle>) -> Admission {
    let mut admission = throttle.admit().await.unwrap();
    assert!(admission.start(|| true).await.unwrap());
    admission
}

async fn one(throttle: &Arc<Throttle>, outcome: Outcome) {
    started(throttle).await.finish(outcome);
}

const FAILED: Outcome = Outcome::Failed { why: String::new(), timeout: false, retry_after: None };
const TIMED_OUT: Outcome = Outcome::Failed { why: String::new(), timeout: true, retry_after: None };

fn limited(seconds: Option<u64>) -> Outcome {
    Outcome::Throttled { retry_after: seconds.map(Duration::from_secs) }
}

/// How long until the next may start.
async fn wait(throttle: &Arc<Throttle>) -> Duration {
    let begun = Instant::now();
    drop(started(throttle).await);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_429_holds_everybody_for_its_wait_and_a_second() {
    let (throttle, told) = throttle(4);
    let others = [started(&throttle).await, started(&throttle).await];
    one(&throttle, limited(Some(7))).await;
    drop(others);
    assert_eq!(wait(&throttle).await, Duration::from_secs(8));
    assert_eq!(*told.notices.lock().unwrap(), ["waiting 8 s: the server answered 429"]);
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_wait_doubles_from_60_to_300_seconds_and_a_success_resets_it() {
    let (throttle, _) = throttle(4);
    let mut waits = Vec::new();
    for _ in 0..5 {
        one(&throttle, limited(None)).await;
        waits.push(wait(&throttle).await.as_secs());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(waits, [61, 121, 241, 301, 301]);
    one(&throttle, Outcome::Success).await;
    one(&throttle, limited(None)).await;
    assert_eq!(wait(&throttle).await, Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn one_episode_of_429s_halves_once_and_ten_successes_give_one_back() {
    let (throttle, told) = throttle(8);
    let mut flight = Vec::new();
    for _ in 0..8 {
        flight.push(started(&throttle).await);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    for admission in flight {
        admission.finish(limited(Some(1)));
    }
    assert_eq!(*told.limits.lock().unwrap(), [4]);
    for _ in 0..20 {
        one(&throttle, Outcome::Success).await;
    }
    assert_eq!(*told.limits.lock().unwrap(), [4, 5, 6]);
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..5 {
        one(&throttle, limited(Some(1))).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(*told.limits.lock().unwrap(), [4, 5, 6, 3, 1]);
    for _ in 0..200 {
        one(&throttle, Outcome::Success).await;
    }
    assert_eq!(told.limits.lock().unwrap().last(), Some(&8));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_are_in_flight_and_the_first_to_come_is_the_first_to_go() {
    let (throttle, _) = throttle(2);
    let first = started(&throttle).await;
    let _second = started(&throttle).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..3)
        .map(|number| {
            let (throttle, order) = (Arc::clone(&throttle), Arc::clone(&order));
            tokio::spawn(async move {
                let admission = throttle.admit().await.unwrap();
                order.lock().unwrap().push(number);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(admission);
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(order.lock().unwrap().is_empty());
    drop(first);
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nobody_starts_between_the_headers_of_a_429_and_its_body() {
    let (throttle, _) = throttle(4);
    let admission = started(&throttle).await;
    let mut late = throttle.admit().await.unwrap();
    admission.bell().ring(None);
    admission.bell().ring(None);
    let starting = tokio::spawn(async move {
        late.start(|| true).await.unwrap();
        Instant::now()
    });
    let rung = Instant::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!starting.is_finished());
    admission.finish(limited(Some(30)));
    // The wait counts from the headers, not from the body.
    assert_eq!(starting.await.unwrap() - rung, Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_429_given_up_before_its_body_still_holds() {
    let (throttle, _) = throttle(4);
    let admission = started(&throttle).await;
    admission.bell().ring(None);
    drop(admission);
    assert_eq!(wait(&throttle).await, Duration::from_secs(61));
    let admission = started(&throttle).await;
    admission.bell().ring(Some(Duration::from_secs(200)));
    drop(admission);
    assert_eq!(wait(&throttle).await, Duration::from_secs(201));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_wait_does_not_cut_a_longer_one() {
    let (throttle, _) = throttle(4);
    let (one, other) = (started(&throttle).await, started(&throttle).await);
    one.finish(limited(Some(100)));
    other.finish(limited(Some(1)));
    assert_eq!(wait(&throttle).await, Duration::from_secs(101));
}

#[tokio::test(start_paused = true)]
async fn two_429s_of_the_same_moment_are_one_episode_and_told_once() {
    let (throttle, told) = throttle(8);
    let (one, other) = (started(&throttle).await, started(&throttle).await);
    one.finish(limited(Some(1)));
    other.finish(limited(Some(1)));
    assert_eq!(*told.limits.lock().unwrap(), [4]);
    assert_eq!(*told.notices.lock().unwrap(), ["waiting 2 s: the server answered 429"]);
}

#[tokio::test(start_paused = true)]
async fn a_success_of_the_moment_of_a_429_says_nothing_about_the_time_after_it() {
    let (throttle, _) = throttle(4);
    let (one, other) = (started(&throttle).await, started(&throttle).await);
    one.finish(limited(None));
    other.finish(Outcome::Success);
    assert_eq!(wait(&throttle).await, Duration::from_secs(61));
    self::one(&throttle, limited(None)).await;
    assert_eq!(wait(&throttle).await, Duration::from_secs(121));
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_exactly_max_wait_is_waited() {
    let (throttle, _) = throttle(4);
    let other = started(&throttle).await;
    one(&throttle, limited(Some(30 * 60))).await;
    // With a request that is still out, nothing else ends the run either.
    tokio::time::timeout(Duration::from_mins(30), throttle.admit()).await.err().unwrap();
    other.finish(Outcome::Success);
    drop(started(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn a_503_that_asks_to_wait_holds_everybody_but_does_not_halve() {
    let (throttle, told) = throttle(4);
    let why = String::new();
    one(&throttle, Outcome::Failed { why, timeout: false, retry_after: Some(Duration::from_secs(9)) }).await;
    assert_eq!(wait(&throttle).await, Duration::from_secs(10));
    assert!(told.limits.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_close_the_gate_and_one_probe_goes_at_a_time() {
    let (throttle, told) = throttle(4);
    for _ in 0..4 {
        one(&throttle, FAILED).await;
    }
    assert_eq!(wait(&throttle).await, Duration::ZERO);
    one(&throttle, FAILED).await;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        let probe = started(&throttle).await;
        waits.push(begun.elapsed().as_secs());
        // While it is out, nobody else goes.
        let other = tokio::time::timeout(Duration::from_secs(100), throttle.admit()).await;
        assert!(other.is_err());
        probe.finish(FAILED);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    one(&throttle, Outcome::Success).await;
    let (_a, _b) = (started(&throttle).await, started(&throttle).await);
    assert!(told.notices.lock().unwrap()[0].starts_with("too many failures"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_lets_the_next_one_go() {
    let (throttle, _) = throttle(4);
    for _ in 0..5 {
        one(&throttle, FAILED).await;
    }
    drop(started(&throttle).await);
    assert_eq!(wait(&throttle).await, Duration::ZERO);
    // It was no answer: the gate is still closed.
    let _probe = started(&throttle).await;
    assert!(tokio::time::timeout(Duration::from_mins(1), throttle.admit()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_any_kind_opens_the_gate_and_ends_the_row() {
    let (throttle, _) = throttle(4);
    for _ in 0..4 {
        one(&throttle, FAILED).await;
    }
    one(&throttle, Outcome::Answered).await;
    for _ in 0..4 {
        one(&throttle, FAILED).await;
    }
    assert_eq!(wait(&throttle).await, Duration::ZERO);
    one(&throttle, FAILED).await;
    one(&throttle, Outcome::Answered).await;
    let (_a, _b) = (started(&throttle).await, started(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_no_failure_of_the_row() {
    let (throttle, _) = throttle(4);
    for _ in 0..10 {
        one(&throttle, limited(Some(1))).await;
    }
    assert_eq!(wait(&throttle).await, Duration::from_secs(2));
    let _other = started(&throttle).await;
}

/// Failures, each after a success, until the gate closes.
async fn failures_until_closed(outcome: Outcome) -> u32 {
    let (throttle, told) = throttle(4);
    for failures in 1..100 {
        one(&throttle, Outcome::Success).await;
        one(&throttle, outcome.clone()).await;
        if !told.notices.lock().unwrap().is_empty() {
            return failures;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_closes_the_gate() {
    // 100 - 10, then + 2 - 10 each: 90, 82, … 2, 0.
    assert_eq!(failures_until_closed(FAILED).await, 13);
    // 100 - 20, then + 2 - 20 each: 80, 62, 44, 26, 8, 0.
    assert_eq!(failures_until_closed(TIMED_OUT).await, 6);
}

#[tokio::test(start_paused = true)]
async fn starts_are_spaced_without_a_burst() {
    let pacing =
        Pacing { concurrency: 9, spacing: Duration::from_millis(200), max_wait: Duration::from_mins(30) };
    let throttle = Throttle::new(pacing, Arc::new(()));
    tokio::time::advance(Duration::from_secs(100)).await;
    let begun = Instant::now();
    let mut starts = Vec::new();
    for _ in 0..4 {
        let admission = started(&throttle).await;
        starts.push(begun.elapsed().as_millis());
        drop(admission);
    }
    assert_eq!(starts, [0, 200, 400, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_over_max_wait_stops_everybody() {
    let (throttle, _) = throttle(4);
    let mut other = throttle.admit().await.unwrap();
    one(&throttle, limited(Some(1801))).await;
    let stop = throttle.admit().await.err().unwrap();
    assert_eq!(stop.kind, ErrorKind::Stopped { retry_after: Some(Duration::from_secs(1801)) });
    assert_eq!(other.start(|| true).await, Err(stop.clone()));
    assert_eq!(throttle.rest(Duration::from_secs(1)).await, Err(stop));
}

#[tokio::test(start_paused = true)]
async fn max_wait_counts_from_the_first_failure_after_the_last_success() {
    let (throttle, _) = throttle(4);
    // Waiting for archives is no failure.
    tokio::time::advance(Duration::from_hours(5)).await;
    one(&throttle, FAILED).await;
    tokio::time::advance(Duration::from_mins(29)).await;
    one(&throttle, Outcome::Success).await;
    tokio::time::advance(Duration::from_hours(5)).await;
    one(&throttle, FAILED).await;
    tokio::time::advance(Duration::from_secs(30 * 60 - 1)).await;
    one(&throttle, FAILED).await;
    let begun = Instant::now();
    let stop = throttle.rest(Duration::from_mins(1)).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    assert_eq!(stop.kind, ErrorKind::Stopped { retry_after: None });
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_of_a_stop_stands() {
    let (throttle, _) = throttle(4);
    throttle.stop(Stop::new(ErrorKind::Auth, "first", "hint"));
    throttle.stop(Stop::new(ErrorKind::RunRefused, "second", "hint"));
    assert_eq!(throttle.admit().await.err().unwrap().message, "first");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_still_out_puts_the_end_off() {
    let (throttle, _) = throttle(4);
    let slow = started(&throttle).await;
    let why = "cannot connect".to_owned();
    one(&throttle, Outcome::Failed { why, timeout: false, retry_after: None }).await;
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(throttle.rest(Duration::from_secs(1)).await, Ok(()));
    slow.finish(FAILED);
    assert!(throttle.rest(Duration::from_secs(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_says_what_failed_last() {
    let (throttle, _) = throttle(4);
    let why = "cannot connect".to_owned();
    one(&throttle, Outcome::Failed { why, timeout: false, retry_after: None }).await;
    let stop = throttle.rest(Duration::from_hours(1)).await.unwrap_err();
    assert_eq!(stop.message, "nothing was accepted for 1800 s; the last time cannot connect");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_asks_to_wait_holds_everybody_too() {
    let (throttle, _) = throttle(4);
    let admission = started(&throttle).await;
    admission.bell().ring(Some(Duration::from_secs(5)));
    admission.finish(Outcome::Answered);
    assert_eq!(wait(&throttle).await, Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_a_place_back_does_not_overtake_who_waits_for_it() {
    let (throttle, _) = throttle(1);
    let mine = started(&throttle).await;
    let waiting = {
        let throttle = Arc::clone(&throttle);
        tokio::spawn(async move {
            let _admission = throttle.admit().await.unwrap();
            tokio::time::sleep(Duration::from_secs(9)).await;
        })
    };
    tokio::task::yield_now().await;
    drop(mine);
    assert_eq!(wait(&throttle).await, Duration::from_secs(9));
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_of_those_still_out_do_not_put_the_probe_off() {
    let (throttle, _) = throttle(9);
    let out = [started(&throttle).await, started(&throttle).await];
    for _ in 0..5 {
        one(&throttle, FAILED).await;
    }
    for late in out {
        late.finish(FAILED);
    }
    assert_eq!(wait(&throttle).await, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_429s_ends_after_max_wait_too() {
    let (throttle, _) = throttle(4);
    let begun = Instant::now();
    let stop = loop {
        match throttle.admit().await {
            Ok(mut admission) => match admission.start(|| true).await {
                Ok(_) => admission.finish(limited(Some(100))),
                Err(stop) => break stop,
            },
            Err(stop) => break stop,
        }
    };
    assert_eq!(begun.elapsed(), Duration::from_mins(30));
    assert_eq!(stop.message, "nothing was accepted for 1800 s; the last time the server answered 429");
}

#[tokio::test(start_paused = true)]
async fn successes_before_a_429_do_not_count_towards_growing_after_it() {
    let (throttle, told) = throttle(8);
    one(&throttle, limited(Some(1))).await;
    for _ in 0..9 {
        one(&throttle, Outcome::Success).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    one(&throttle, limited(Some(1))).await;
    for _ in 0..9 {
        one(&throttle, Outcome::Success).await;
    }
    assert_eq!(*told.limits.lock().unwrap(), [4, 2]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_ready_when_the_moment_comes_leaves_it_to_others() {
    let pacing =
        Pacing { concurrency: 9, spacing: Duration::from_secs(100), max_wait: Duration::from_mins(30) };
    let throttle = Throttle::new(pacing, Arc::new(()));
    let _first = started(&throttle).await;
    let begun = Instant::now();
    let mut late = throttle.admit().await.unwrap();
    assert_eq!(late.start(|| false).await, Ok(false));
    assert_eq!(begun.elapsed(), Duration::from_secs(100));
    let _other = started(&throttle).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(100));
    assert_eq!(late.start(|| true).await, Ok(true));
    assert_eq!(begun.elapsed(), Duration::from_secs(200));
}

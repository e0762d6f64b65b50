//! What goes wrong when: drawn from a seed before anything runs, so that it can be printed and replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Kinds of faults that every schedule has among its first requests.
const KINDS_EARLY: usize = 14;

/// What happens to one upload request. The flag says whether the server keeps the body all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Html { kept: bool },
    CutJson,
    NoFileId { kept: bool },
    EmptyOk { kept: bool },
    InternalErrorUnder200,
    InternalError,
    Unavailable { retry_after: Option<u64> },
    Gateway { status: u16, kept: bool },
    RequestTimeout,
    TooEarly,
    TooMany { header: Option<u64>, date: bool, details: Option<u64> },
    InvalidToken,
    BareUnauthorized,
    ExpireAllTokens,
    Refused,
    ConnectTimeout,
    ResetMidBody,
    Stalled,
    LostAnswer { kept: bool },
    Silence { kept: bool },
    NotHttp,
    Slow,
    SameFileIdAgain,
    EarlySuccess,
    // These refuse the archive.
    TooLarge,
    TooLargeAsInvalidData,
    NotAZip,
    UnknownCode,
    // These end the run.
    ScopeMismatch,
    Redirect,
    Certificate,
    CreditsGone,
    VeryLongWait,
}

impl TokenFault {
    pub(super) fn passes(self) -> bool {
        self != TokenFault::InvalidCode
    }
}

impl Fault {
    pub(super) fn kind(self) -> String {
        format!("{self:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
    }

    /// Sent again as often as need be, this fault ends no run.
    pub(super) fn passes(self) -> bool {
        !self.is_unauthorised()
            && !matches!(
                self,
                Fault::TooLarge
                    | Fault::TooLargeAsInvalidData
                    | Fault::NotAZip
                    | Fault::UnknownCode
                    | Fault::ScopeMismatch
                    | Fault::Redirect
                    | Fault::Certificate
                    | Fault::CreditsGone
                    | Fault::VeryLongWait
                    | Fault::SameFileIdAgain
            )
    }

    /// Whoever does not read the body cannot know of the wait.
    pub(super) fn asks_in_its_body(self) -> bool {
        matches!(self, Fault::TooMany { header: None, details: Some(_), .. })
    }

    /// Two of these in a row end the run: they must not be as frequent as the others.
    fn is_unauthorised(self) -> bool {
        matches!(self, Fault::InvalidToken | Fault::BareUnauthorized | Fault::ExpireAllTokens)
    }
}

/// What happens to one request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenFault {
    Html,
    ServerError,
    AccessDenied,
    Lost,
    Refused,
    NoExpiry,
    Milliseconds,
    ShortLife,
    InvalidCode,
}

#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) chunks: usize,
    pub(super) workers: usize,
    pub(super) concurrency: usize,
    pub(super) starts_per_second: f64,
    pub(super) max_wait: Duration,
    pub(super) given_token: bool,
    pub(super) given_is_expired: bool,
    /// By number of the upload request, from 0.
    pub(super) faults: BTreeMap<u64, Fault>,
    /// By number of the token request, from 0.
    pub(super) token_faults: BTreeMap<u64, TokenFault>,
    /// Nothing gets through from the one moment to the other.
    pub(super) outage: Option<(Duration, Duration)>,
}

impl Schedule {
    /// Nothing goes wrong.
    pub(super) fn calm(seed: u64) -> Schedule {
        Schedule {
            seed,
            chunks: 20,
            workers: 4,
            concurrency: 4,
            starts_per_second: 5.0,
            max_wait: Duration::from_mins(30),
            given_token: false,
            given_is_expired: false,
            faults: BTreeMap::new(),
            token_faults: BTreeMap::new(),
            outage: None,
        }
    }

    pub(super) fn seeded(seed: u64) -> Schedule {
        let mut rng = StdRng::seed_from_u64(seed);
        let calm = Schedule::calm(seed);
        let ends = rng.random_bool(0.1);
        let often = [0.03, 0.1, 0.25, 0.5, 0.7][rng.random_range(0..5)];
        let mut faults = BTreeMap::new();
        for request in 0..400 {
            if rng.random_bool(often) {
                faults.insert(request, fault(&mut rng, ends));
            }
        }
        // Some of many kinds early on, so that a schedule meets them unless the run ends before.
        let mut kinds = BTreeSet::new();
        let mut places = rand::seq::index::sample(&mut rng, 30, KINDS_EARLY).into_iter();
        while kinds.len() < KINDS_EARLY {
            let fault = fault(&mut rng, ends);
            if kinds.insert(fault.kind()) {
                faults.extend(places.next().map(|place| (place as u64, fault)));
            }
        }
        let often = [0.0, 0.1, 0.5][rng.random_range(0..3)];
        let mut token_faults = BTreeMap::new();
        for request in 0..40 {
            if rng.random_bool(often) {
                token_faults.insert(request, token_fault(&mut rng, ends));
            }
        }
        let outage = rng.random_bool(0.1).then(|| {
            let from = Duration::from_millis(rng.random_range(0..20_000));
            (from, from + Duration::from_secs(rng.random_range(10..600)))
        });
        let given_token = rng.random_bool(0.3);
        Schedule {
            chunks: rng.random_range(20..60),
            workers: [1, 2, 4, 8, 16][rng.random_range(0..5)],
            concurrency: [1, 2, 4, 8, 16][rng.random_range(0..5)],
            starts_per_second: [0.0, 1.0, 5.0, 20.0][rng.random_range(0..4)],
            max_wait: Duration::from_mins([5, 30, 30, 30, 120, 120][rng.random_range(0..6)]),
            given_token,
            given_is_expired: given_token && rng.random_bool(0.5),
            faults,
            token_faults,
            outage,
            ..calm
        }
    }
}

fn fault(rng: &mut StdRng, ends: bool) -> Fault {
    let drawn = any_fault(rng, ends);
    if drawn.is_unauthorised() && rng.random_bool(0.8) { any_fault(rng, ends) } else { drawn }
}

fn any_fault(rng: &mut StdRng, ends: bool) -> Fault {
    let kept = rng.random_bool(0.5);
    let seconds = |rng: &mut StdRng| [0, 1, 3, 60, 299][rng.random_range(0..5)];
    if ends && rng.random_bool(0.1) {
        return match rng.random_range(0..9) {
            0 => Fault::TooLarge,
            1 => Fault::TooLargeAsInvalidData,
            2 => Fault::NotAZip,
            3 => Fault::UnknownCode,
            4 => Fault::ScopeMismatch,
            5 => Fault::Redirect,
            6 => Fault::Certificate,
            7 => Fault::CreditsGone,
            _ => Fault::VeryLongWait,
        };
    }
    match rng.random_range(0..27) {
        0 => Fault::Html { kept },
        1 => Fault::CutJson,
        2 => Fault::NoFileId { kept },
        3 => Fault::EmptyOk { kept },
        4 => Fault::InternalErrorUnder200,
        5 => Fault::InternalError,
        6 => Fault::Unavailable { retry_after: None },
        7 => Fault::Unavailable { retry_after: Some(seconds(rng)) },
        8 => Fault::Gateway { status: 502, kept },
        9 => Fault::Gateway { status: 504, kept },
        10 => Fault::RequestTimeout,
        11 => Fault::TooEarly,
        12 => Fault::TooMany { header: Some(seconds(rng)), date: false, details: None },
        13 => Fault::TooMany { header: Some(seconds(rng)), date: true, details: None },
        14 => Fault::TooMany { header: None, date: false, details: Some(seconds(rng)) },
        15 => Fault::TooMany { header: None, date: false, details: None },
        16 => Fault::InvalidToken,
        17 => Fault::BareUnauthorized,
        18 => Fault::ExpireAllTokens,
        19 => [Fault::Refused, Fault::ConnectTimeout][rng.random_range(0..2)],
        20 => Fault::ResetMidBody,
        21 => Fault::Stalled,
        22 => Fault::LostAnswer { kept },
        23 => Fault::Silence { kept },
        24 => Fault::Slow,
        25 => [Fault::SameFileIdAgain, Fault::NotHttp][rng.random_range(0..2)],
        _ => Fault::EarlySuccess,
    }
}

fn token_fault(rng: &mut StdRng, ends: bool) -> TokenFault {
    match rng.random_range(0..if ends { 9 } else { 8 }) {
        0 => TokenFault::Html,
        1 => TokenFault::ServerError,
        2 => TokenFault::AccessDenied,
        3 => TokenFault::Lost,
        4 => TokenFault::Refused,
        5 => TokenFault::NoExpiry,
        6 => TokenFault::Milliseconds,
        7 => TokenFault::ShortLife,
        _ => TokenFault::InvalidCode,
    }
}

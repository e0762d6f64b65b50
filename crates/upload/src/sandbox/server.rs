//! The listener, its connections, and what all of them share; every task ends with the server.
//!
//! hyper's HTTP/1 server over an own accept loop rather than axum: resets, slow reading and answers before the body
//! need the socket itself, which axum hides; three routes need no router.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::sandbox::exchange::exchange;
use crate::sandbox::fault::Fault;
use crate::sandbox::gate::Gate;
use crate::sandbox::log::Log;
use crate::sandbox::plan::{Endpoint, FaultPlan, Rule};
use crate::sandbox::store::Store;
use crate::sandbox::tokens::{Account, Tokens};
use crate::sandbox::wire::{Pace, Wire};

/// How long open connections may take to end once the server is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Pause after an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Receive buffer where the plan shapes reading: small, so that a client feels the server not reading.
const SHAPED_RECEIVE_BUFFER_BYTES: u32 = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// What all connections share.
pub(super) struct State {
    pub(super) base_url: String,
    pub(super) account: Account,
    pub(super) plan: FaultPlan,
    pub(super) store: Store,
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Gate>,
    seed: u64,
    tokens: Mutex<Tokens>,
    pace: Option<Arc<Pace>>,
    numbers: [AtomicU64; 4],
    /// How often each rule of the plan was applied.
    applied: Vec<AtomicU64>,
}

impl State {
    pub(super) fn new(base_url: String, plan: FaultPlan, seed: u64, store: Store) -> State {
        let limits = &plan.limits;
        State {
            base_url,
            account: Account::invent(),
            store,
            log: Arc::default(),
            gate: Arc::new(Gate::new(limits.concurrency(), limits.retry_after, limits.escalate)),
            seed,
            tokens: Mutex::new(Tokens::new(
                &plan.tokens.scope,
                plan.tokens.lifetime,
                plan.tokens.per_ten_minutes,
            )),
            pace: limits.read_bytes_per_second.map(|rate| Arc::new(Pace::new(rate))),
            numbers: Default::default(),
            applied: plan.rules.iter().map(|_| AtomicU64::new(0)).collect(),
            plan,
        }
    }
    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request's number at that endpoint, from 1.
    pub(super) fn number(&self, endpoint: Endpoint) -> u64 {
        self.numbers[endpoint as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The gate of the API's endpoints; tokens are given by another server at Zoho.
    pub(super) fn gate_of(&self, endpoint: Endpoint) -> Option<&Arc<Gate>> {
        (endpoint != Endpoint::Token).then_some(&self.gate)
    }

    /// The fault of the first rule that fits and is not used up; the rule counts it as applied.
    pub(super) fn fault(&self, endpoint: Endpoint, number: u64) -> Option<&Fault> {
        let fits = |&(index, rule): &(usize, &Rule)| {
            rule.on == endpoint
                && rule.fits(number, chance(self.seed, index, number))
                && self.applied[index].fetch_add(1, Ordering::Relaxed) < rule.times.unwrap_or(u64::MAX)
        };
        self.plan.rules.iter().enumerate().find(fits).map(|(_, rule)| &rule.fault)
    }
}

/// Opens the listening socket.
///
/// # Errors
///
/// `InvalidInput` for an address that is not loopback: the sandbox is for this machine alone. Otherwise what the
/// system says, e.g. that the port is taken.
pub(super) fn listen(address: SocketAddr, plan: &FaultPlan) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        let message = format!("`{address}` is no loopback address, the sandbox listens on no other");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if plan.shapes_reading() {
        socket.set_recv_buffer_size(SHAPED_RECEIVE_BUFFER_BYTES)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts and serves connections until told to stop, then lets open exchanges end for a while.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => note(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, state.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sandbox could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    if tokio::time::timeout(STOP_WITHIN, all_ended).await.is_err() {
        connections.shutdown().await;
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the sandbox ended badly");
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, mut stop: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the sandbox could not set TCP_NODELAY: answers may come later");
    }
    let wire = Wire::new(stream, state.pace.clone());
    let control = wire.control();
    let service = service_fn(move |request| exchange(state.clone(), control.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients hang up and plans end connections: for the sandbox both are in order.
        tracing::debug!(%error, "a connection of the sandbox ended early");
    }
}

/// A number in 0..1 that depends on its arguments alone, so that a seed gives the same faults to the same requests
/// whatever else happens: splitmix64's output function over their mix.
fn chance(seed: u64, rule: usize, number: u64) -> f64 {
    let mut mixed = 0_u64;
    for part in [seed, rule as u64, number] {
        mixed = mixed.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_spread_evenly_and_depend_on_seed_rule_and_number() {
        let below = |limit: f64| (1..=10_000).filter(|&number| chance(7, 0, number) < limit).count();
        assert!((450..550).contains(&below(0.05)), "{}", below(0.05));
        assert!((4_800..5_200).contains(&below(0.5)), "{}", below(0.5));
        assert!((chance(7, 0, 1) - chance(7, 0, 1)).abs() < f64::EPSILON);
        let all = [chance(7, 0, 1), chance(8, 0, 1), chance(7, 1, 1), chance(7, 0, 2)];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| (one - other).abs() > 1e-9), "{all:?}");
        }
    }
}

//! Carries requests over real sockets with reqwest: HTTP/1.1, TLS always verified, no redirects, own timeouts.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep_until};

use crate::Error;
use crate::pace::Pace;
use crate::reporter::BoxFuture;
use crate::transport::sending::{Progress, Sending};
use crate::transport::{Answer, Exchange, Failure, FailureKind, Observer, Request, Timeouts, Transport};

/// An idle connection is closed after this long: gateways drop theirs after a minute, and a request that meets a
/// connection just dropped is an attempt lost.
const IDLE: Duration = Duration::from_secs(30);
/// Of an answer's body, no more is read. Zoho's answers have some hundred bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// What the carrier needs to know.
pub(crate) struct Settings<'a> {
    pub(crate) user_agent: &'a str,
    pub(crate) connections: usize,
    pub(crate) https_proxy: Option<&'a str>,
    pub(crate) no_proxy: Option<&'a str>,
    pub(crate) extra_ca_pem: &'a [Vec<u8>],
    /// Whether any URL is https: without one, no certificate authority of the system is needed.
    pub(crate) tls: bool,
    pub(crate) bwlimit: Option<u64>,
    pub(crate) timeouts: Timeouts,
}

/// The carrier in production.
pub(crate) struct Http {
    client: reqwest::Client,
    pace: Arc<Pace>,
    timeouts: Timeouts,
}

impl Http {
    pub(crate) fn new(settings: &Settings<'_>) -> Result<Http, Error> {
        install_crypto();
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(settings.timeouts.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.connections)
            .user_agent(settings.user_agent);
        if settings.tls {
            let mut authorities = Vec::new();
            for pem in settings.extra_ca_pem {
                let found = reqwest::Certificate::from_pem_bundle(pem).map_err(|source| {
                    Error::config("the extra certificate authorities are no PEM").with_source(source)
                })?;
                if found.is_empty() {
                    return Err(Error::config("the extra certificate authorities hold no certificate"));
                }
                authorities.extend(found);
            }
            builder = builder.tls_certs_merge(authorities);
        } else {
            builder = builder.tls_certs_only([]);
        }
        if let Some(proxy) = settings.https_proxy {
            // The URL may hold a password: it is not repeated.
            let proxy = reqwest::Proxy::https(proxy)
                .map_err(|_source| Error::config("the https proxy's URL is not valid"))?;
            let direct = format!("localhost,127.0.0.0/8,::1,{}", settings.no_proxy.unwrap_or_default());
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&direct)));
        }
        let client = builder.build().map_err(|source| {
            Error::config("cannot set up HTTP").with_hint(
                "the system's certificate authorities are needed: install ca-certificates, or name a file with --ca-file",
            ).with_source(source.without_url())
        })?;
        Ok(Http { client, pace: Arc::new(Pace::new(settings.bwlimit)), timeouts: settings.timeouts })
    }

    async fn carry(&self, request: Request, observer: Arc<dyn Observer>) -> Exchange {
        let guard = Instant::now() + request.guard;
        let bytes = request.payload.len_bytes();
        let progress = Arc::new(Progress::new(bytes == 0));
        // However this ends, cancelled included, the connection's task must not go on with the body.
        let _given_up = GiveUp(Arc::clone(&progress));
        let mut built = reqwest::Request::new(request.method, request.url);
        *built.headers_mut() = request.headers;
        if bytes > 0 {
            let sending = Sending::new(
                request.payload,
                Arc::clone(&self.pace),
                Arc::clone(&progress),
                Arc::clone(&observer),
            );
            *built.body_mut() = Some(reqwest::Body::wrap(sending));
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.exchange(built, &progress, &*observer, guard) => outcome,
            kind = self.watch(&progress, guard) => Err(Failure { kind, source: None }),
        };
        Exchange { outcome, bytes_sent: progress.phase().sent }
    }

    async fn exchange(
        &self,
        request: reqwest::Request,
        progress: &Progress,
        observer: &dyn Observer,
        guard: Instant,
    ) -> Result<Answer, Failure> {
        let mut response = self.client.execute(request).await.map_err(failure)?;
        progress.headed();
        let status = response.status().as_u16();
        observer.head(status, response.headers());
        let headers = response.headers().clone();
        let mut body = BytesMut::new();
        // The status is known: whatever ends the body's reading, the answer stands with what was read.
        let deadline = guard.min(Instant::now() + self.timeouts.silence);
        while body.len() < ANSWER_BYTES {
            match tokio::time::timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - body.len())]);
                }
                Ok(Ok(None)) => break,
                Ok(Err(source)) => {
                    tracing::debug!(error = %source, status, "the answer's body was cut short");
                    break;
                }
                Err(_elapsed) => {
                    tracing::debug!(status, "the answer's body did not end in time");
                    break;
                }
            }
        }
        Ok(Answer { status, headers, body: Bytes::from(body) })
    }

    /// Ends when time has run out. Once the head is read, `exchange` minds the time itself.
    async fn watch(&self, progress: &Progress, guard: Instant) -> FailureKind {
        loop {
            let phase = progress.phase();
            let (limit, kind) = match phase {
                _ if phase.head => return std::future::pending().await,
                _ if phase.whole => (self.timeouts.silence, FailureKind::Silent),
                _ if phase.sent == 0 => (self.timeouts.connect + self.timeouts.stall, FailureKind::Stalled),
                _ => (self.timeouts.stall, FailureKind::Stalled),
            };
            let deadline = phase.moved + limit;
            sleep_until(deadline.min(guard)).await;
            let now = progress.phase();
            if now.head {
                continue;
            }
            if Instant::now() >= guard {
                return FailureKind::TooSlow;
            }
            if now.moved == phase.moved {
                return kind;
            }
        }
    }
}

impl Transport for Http {
    fn send(&self, request: Request, observer: Arc<dyn Observer>) -> BoxFuture<'_, Exchange> {
        Box::pin(self.carry(request, observer))
    }
}

/// Tells the body to stop when its request is dropped.
struct GiveUp(Arc<Progress>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// rustls asks for one provider a process. Another part of the program, or another client, may have installed one:
/// then that one is used.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::debug!("another thread has installed a crypto provider at the same moment");
    }
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let kind = if chain(&error).any(is_certificate) {
        FailureKind::Certificate
    } else if error.is_connect() && chain(&error).any(|layer| layer.to_string().contains("proxy auth")) {
        FailureKind::Proxy
    } else if error.is_connect() && error.is_timeout() {
        FailureKind::ConnectTimeout
    } else if error.is_connect() {
        FailureKind::Connect
    } else if chain(&error)
        .any(|layer| layer.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
    {
        FailureKind::NotHttp
    } else {
        FailureKind::Lost
    };
    Failure { kind, source: Some(Box::new(error)) }
}

fn is_certificate(layer: &(dyn StdError + 'static)) -> bool {
    matches!(layer.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidCertificate(_)))
}

/// An error and all below it. An `io::Error` hides the error it wraps from `source()`, and they come nested.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&layer| {
        match layer.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => layer.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::multipart::Payload;

    fn http() -> Http {
        Http::new(&Settings {
            user_agent: "zbulk/0",
            connections: 1,
            https_proxy: None,
            no_proxy: None,
            extra_ca_pem: &[],
            tls: false,
            bwlimit: None,
            timeouts: Timeouts::default(),
        })
        .unwrap()
    }

    fn body(progress: &Arc<Progress>) -> Sending {
        let piece = || Bytes::from_static(b"piece");
        let payload = Payload { segments: vec![piece(), piece(), piece()] };
        Sending::new(payload, Arc::new(Pace::new(None)), Arc::clone(progress), Arc::new(()))
    }

    /// What `watch` says, and after how many seconds.
    async fn watched(progress: &Arc<Progress>, guard: Duration) -> (FailureKind, u64) {
        let begun = Instant::now();
        let kind = http().watch(progress, begun + guard).await;
        (kind, begun.elapsed().as_secs())
    }

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_of_which_nothing_goes_is_given_up() {
        let progress = Arc::new(Progress::new(false));
        assert_eq!(watched(&progress, LONG).await, (FailureKind::Stalled, 70));
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_that_goes_gives_another_minute() {
        let progress = Arc::new(Progress::new(false));
        let mut body = body(&progress);
        let slow = tokio::spawn(async move {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                body.frame().await.unwrap().unwrap();
            }
            std::future::pending::<()>().await;
            drop(body);
        });
        assert_eq!(watched(&progress, LONG).await, (FailureKind::Stalled, 160));
        slow.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_out_is_answered_within_two_minutes_or_given_up() {
        let progress = Arc::new(Progress::new(false));
        let mut body = body(&progress);
        while body.frame().await.is_some() {}
        assert_eq!(watched(&progress, LONG).await, (FailureKind::Silent, 120));
        let empty = Arc::new(Progress::new(true));
        assert_eq!(watched(&empty, LONG).await, (FailureKind::Silent, 120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_drips_is_given_up_when_the_guard_ends() {
        let progress = Arc::new(Progress::new(false));
        let mut body = body(&progress);
        let slow = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(50)).await;
                if body.frame().await.is_none() {
                    return;
                }
            }
        });
        assert_eq!(watched(&progress, Duration::from_secs(90)).await, (FailureKind::TooSlow, 90));
        slow.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_head_is_there_the_watch_is_over() {
        let progress = Arc::new(Progress::new(true));
        progress.headed();
        assert!(
            tokio::time::timeout(LONG, http().watch(&progress, Instant::now() + LONG * 2)).await.is_err()
        );
    }
}

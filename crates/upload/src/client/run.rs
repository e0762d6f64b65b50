//! One archive's way to its `file_id`: attempt after attempt, each recorded before it starts. The only loop of retries.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::{Client, Uploaded};
use crate::api::Envelope;
use crate::auth::{AccessToken, Wall};
use crate::classify::{Acceptance, Disposition, Observed, Receipt, asks_to_wait, classify, retry_after};
use crate::multipart::Form;
use crate::reporter::{Refused, Reporter, Witness};
use crate::throttle::{Admission, Bell, Outcome, Stop};
use crate::transport::{Answer, Exchange, Failure, Observer};
use crate::{Error, ErrorKind, backoff};

/// Bodies that went out without an answer, per archive.
const AMBIGUOUS_AT_MOST: u32 = 8;

/// One archive on its way.
pub(super) struct Run<'a> {
    client: &'a Client,
    name: &'a str,
    archive: Bytes,
    witness: &'a dyn Witness,
    begun: Instant,
    attempts: u32,
    possible_orphans: u32,
    ambiguous: u32,
    /// In a row, for the backoff.
    failures: u32,
    /// The token of the attempt before, if it met a 401.
    refused_token: Option<u64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        client: &'a Client,
        name: &'a str,
        archive: Bytes,
        witness: &'a dyn Witness,
    ) -> Run<'a> {
        Run {
            client,
            name,
            archive,
            witness,
            begun: Instant::now(),
            attempts: 0,
            possible_orphans: 0,
            ambiguous: 0,
            failures: 0,
            refused_token: None,
        }
    }

    /// To its end, with the facts of the whole way.
    pub(super) async fn finish(mut self) -> Result<Uploaded, Error> {
        let result = self.drive().await;
        let Run { attempts, possible_orphans, .. } = self;
        let elapsed = self.begun.elapsed();
        match result {
            Ok(receipt) => Ok(Uploaded {
                file_id: receipt.file_id,
                created_time: receipt.created_time,
                http_status: receipt.http_status,
                code: receipt.code.unwrap_or_default(),
                attempts,
                elapsed,
                possible_orphans,
            }),
            Err(error) => Err(Error { attempts, elapsed, possible_orphans, ..error }),
        }
    }

    async fn drive(&mut self) -> Result<Receipt, Error> {
        let client = self.client;
        loop {
            let mut admission = client.throttle.admit().await?;
            let mut token = self.token().await?;
            self.attempts += 1;
            self.witness.attempt(self.name, self.attempts).await.map_err(refused)?;
            while !admission.start(|| token.is_fresh()).await? {
                token = self.token().await?;
            }
            let form = {
                let mut rng = client.rng.lock().unwrap_or_else(PoisonError::into_inner);
                Form::new(self.name, self.archive.clone(), &mut *rng)
            };
            let body_bytes = form.payload.len_bytes();
            let request = client.request(&form, &token)?;
            let observer = Arc::new(Watch {
                reporter: Arc::clone(&client.reporter),
                name: self.name.to_owned(),
                bell: admission.bell(),
                wall: client.wall,
            });
            let exchange = client.transport.send(request, observer).await;
            let disposition = classify(&Observed {
                outcome: match &exchange.outcome {
                    Ok(answer) => Ok((answer.status, &answer.headers, &answer.body)),
                    Err(failure) => Err(failure.kind),
                },
                bytes_sent: exchange.bytes_sent,
                body_bytes,
                now: client.wall.now(),
            });
            if let Some(done) = self.conclude(disposition, exchange, admission, &token).await? {
                return Ok(done);
            }
        }
    }

    /// Acts on what the attempt came to; `None`: make another.
    async fn conclude(
        &mut self,
        disposition: Disposition,
        exchange: Exchange,
        admission: Admission,
        token: &AccessToken,
    ) -> Result<Option<Receipt>, Error> {
        let client = self.client;
        let met_401 = self.refused_token.take();
        match disposition {
            Disposition::Done(receipt) => {
                if client.claim(&receipt.file_id) {
                    admission.finish(Outcome::Success);
                    return Ok(Some(receipt));
                }
                let why = format!("the server gave file_id `{}` to another archive too", receipt.file_id);
                self.again(admission, &exchange, &why, false, Acceptance::Unknown, None).await?;
            }
            Disposition::Refresh => {
                admission.finish(Outcome::Nothing);
                if met_401.is_some_and(|refused| refused < token.generation) {
                    let mut stop =
                        self.stop(ErrorKind::Auth, &exchange, "a new token is not accepted either");
                    stop.hint = Some(
                        "the token may be of another data centre: check --dc, and the org's own".to_owned(),
                    );
                    return Err(client.end_run(stop));
                }
                self.refused_token = Some(token.generation);
                client.tokens.renew(token.generation).await.map_err(|stop| client.end_run(stop))?;
            }
            Disposition::Throttled { retry_after } => {
                admission.finish(Outcome::Throttled { retry_after });
            }
            Disposition::CreditsGone { retry_after } => {
                let kind = ErrorKind::Stopped { retry_after };
                let mut stop = self.stop(kind, &exchange, "the org's API credits of 24 hours are used up");
                stop.hint = Some(match retry_after {
                    Some(wait) => format!("run again in {} s, as the server asks", wait.as_secs()),
                    None => {
                        "run again when some are free: they are counted over the last 24 hours".to_owned()
                    }
                });
                let error = client.end_run(stop);
                admission.finish(Outcome::Answered);
                return Err(error);
            }
            Disposition::Retry { cause, acceptance, retry_after } => {
                let why = match exchange.outcome.as_ref().err().and_then(Failure::root) {
                    Some(root) => client.redactor.line(&format!("{cause}: {root}")),
                    None => cause.to_string(),
                };
                let timeout = cause.is_timeout();
                self.again(admission, &exchange, &why, timeout, acceptance, retry_after).await?;
            }
            Disposition::FailChunk { hint } => {
                admission.finish(Outcome::Answered);
                let mut stop =
                    self.stop(ErrorKind::ChunkRefused, &exchange, "the server refuses the archive");
                stop.hint = hint.map(str::to_owned);
                return Err(stop.into());
            }
            // Everybody is stopped before the place is given back, or the next one would take it.
            Disposition::FailAuth { hint } => {
                let mut stop = self.stop(ErrorKind::Auth, &exchange, "the server does not allow the upload");
                stop.hint = Some(hint.to_owned());
                let error = client.end_run(stop);
                admission.finish(Outcome::Answered);
                return Err(error);
            }
            Disposition::FailRun { hint } => {
                let mut stop = self.stop(ErrorKind::RunRefused, &exchange, "the server refuses the upload");
                stop.hint = Some(hint.to_owned());
                let error = client.end_run(stop);
                admission.finish(Outcome::Answered);
                let source = exchange.outcome.err().and_then(|failure| failure.source);
                return Err(Error { source, ..error });
            }
        }
        Ok(None)
    }

    /// Prepares another attempt: records, gives the place back, rests.
    async fn again(
        &mut self,
        admission: Admission,
        exchange: &Exchange,
        why: &str,
        timeout: bool,
        acceptance: Acceptance,
        retry_after: Option<Duration>,
    ) -> Result<(), Error> {
        let client = self.client;
        if acceptance != Acceptance::Impossible {
            self.possible_orphans += 1;
            self.witness.ambiguous(self.name, self.attempts).await.map_err(refused)?;
        }
        admission.finish(Outcome::Failed { why: why.to_owned(), timeout, retry_after });
        if acceptance == Acceptance::Unknown {
            self.ambiguous += 1;
            if self.ambiguous >= AMBIGUOUS_AT_MOST {
                let what = format!("sent {AMBIGUOUS_AT_MOST} times and never told the outcome");
                let mut stop = self.stop(ErrorKind::Stopped { retry_after: None }, exchange, &what);
                stop.hint = Some("run again later: what is uploaded stays uploaded".to_owned());
                return Err(stop.into());
            }
        }
        let rest = {
            let mut rng = client.rng.lock().unwrap_or_else(PoisonError::into_inner);
            backoff::rest(self.failures, &mut *rng)
        };
        self.failures = self.failures.saturating_add(1);
        client.reporter.notice(&format!(
            "{}: attempt {} failed, {why}; again in {:.1} s",
            self.name,
            self.attempts,
            rest.as_secs_f64()
        ));
        client.throttle.rest(rest).await?;
        Ok(())
    }

    async fn token(&self) -> Result<AccessToken, Error> {
        self.client.tokens.token().await.map_err(|stop| self.client.end_run(stop))
    }

    /// The facts of a refusal: what failed, and what the server said, made fit to be shown.
    fn stop(&self, kind: ErrorKind, exchange: &Exchange, what: &str) -> Stop {
        let redactor = &self.client.redactor;
        match &exchange.outcome {
            Ok(Answer { status, body, .. }) => {
                let code = Envelope::read(body).and_then(|envelope| envelope.code);
                let said = if body.is_empty() { "no body".to_owned() } else { redactor.excerpt(body) };
                Stop {
                    kind,
                    message: format!("{what}: {status}, {said}"),
                    hint: None,
                    http_status: Some(*status),
                    code: code.map(|code| redactor.line(&code)),
                }
            }
            Err(failure) => Stop {
                kind,
                message: format!("{what}: {}", failure.kind),
                hint: None,
                http_status: None,
                code: None,
            },
        }
    }
}

/// Passes on what the carrier sees.
struct Watch {
    reporter: Arc<dyn Reporter>,
    name: String,
    bell: Bell,
    wall: Wall,
}

impl Observer for Watch {
    fn sent(&self, bytes: u64) {
        self.reporter.bytes_sent(&self.name, bytes);
    }

    fn head(&self, status: u16, headers: &HeaderMap) {
        if asks_to_wait(status, headers) {
            self.bell.ring(retry_after(headers, self.wall.now()));
        }
    }
}

fn refused(_: Refused) -> Error {
    Error::new(ErrorKind::Witness, "stopped by the run's owner")
}

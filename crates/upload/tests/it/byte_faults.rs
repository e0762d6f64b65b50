//! Faults of the line itself, over real sockets in real time, with short timeouts: what no simulated carrier can show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use upload::{Client, Credentials, Error, ErrorKind, Reporter, Timeouts, Uploaded};

use crate::plain_server::{answer, success};
use crate::requests::{Seen, config_for};

/// More than the sockets of both sides hold between them.
const LARGE: usize = 16 << 20;
const SMALL: usize = 40_000;
static ARCHIVE: OnceLock<Bytes> = OnceLock::new();

const SHORT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(600),
    silence: Duration::from_millis(600),
};

/// What a server does with one connection's request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Accepts,
    /// Ends the connection when it has read so many bytes, head included.
    EndsAt(usize),
    /// Reads no more after so many bytes.
    StallsAt(usize),
    /// Reads in small sips, with pauses shorter than the timeout.
    ReadsSlowly,
    /// Reads all and says nothing.
    KeepsSilent,
    /// Reads all and ends the connection.
    LosesTheAnswer,
    /// Answers after so many bytes, and ends the connection.
    AnswersEarly(usize, u16),
    SpeaksNoHttp,
    /// Announces more of a body than it sends.
    CutsTheAnswer,
    /// Sends a body without end.
    AnswersWithoutEnd,
    /// Sends the head of an answer and then nothing.
    AnswersWithAHeadAlone,
}

struct Server {
    url: String,
    connections: Arc<Mutex<Vec<Does>>>,
}

impl Server {
    /// The connections do one thing after the other, in the order given.
    fn start(does: &[Does]) -> Server {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, does.to_vec(), Arc::clone(&connections)));
        Server { url, connections }
    }
}

async fn accept(listener: TcpListener, does: Vec<Does>, connections: Arc<Mutex<Vec<Does>>>) {
    for does in does {
        let (stream, _) = listener.accept().await.unwrap();
        connections.lock().unwrap().push(does);
        tokio::spawn(async move {
            // A fault is an error of the socket on this side too.
            drop(serve(stream, does).await);
        });
    }
}

async fn serve(mut stream: TcpStream, does: Does) -> std::io::Result<()> {
    let mut read = 0;
    let mut buffer = vec![0_u8; 16 << 10];
    let mut head = Vec::new();
    let mut whole = usize::MAX;
    let forever = std::future::pending::<std::io::Result<()>>();
    while read < whole {
        match does {
            Does::EndsAt(bytes) if read >= bytes => return Ok(()),
            Does::StallsAt(bytes) if read >= bytes => return forever.await,
            Does::AnswersEarly(bytes, status) if read >= bytes => {
                let body = r#"{"code":"FILE_TOO_LARGE","details":{},"message":"?","status":"error"}"#;
                stream.write_all(answer(status, "Connection: close\r\n", body).as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Ok(());
            }
            Does::ReadsSlowly => tokio::time::sleep(Duration::from_millis(2)).await,
            _ => {}
        }
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        read += bytes;
        if whole == usize::MAX {
            head.extend_from_slice(&buffer[..bytes]);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                let length = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                whole = end + 4 + length.parse::<usize>().unwrap();
            }
        }
    }
    match does {
        Does::KeepsSilent => return forever.await,
        Does::LosesTheAnswer => return Ok(()),
        Does::SpeaksNoHttp => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await?,
        Does::CutsTheAnswer => stream.write_all(&success("1").as_bytes()[..120]).await?,
        Does::AnswersWithAHeadAlone => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await?;
            return forever.await;
        }
        Does::AnswersWithoutEnd => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n").await?;
            loop {
                stream.write_all(&buffer).await?;
            }
        }
        _ => {
            stream.write_all(success("111111000001492610").as_bytes()).await?;
            // The connection stays open for the next request, which is not served.
            return forever.await;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Sent(AtomicU64);

impl Reporter for Sent {
    fn bytes_sent(&self, _: &str, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

async fn upload(server: &Server, bytes: usize, bwlimit: Option<u64>) -> (Result<Uploaded, Error>, u64) {
    let credentials = Credentials { access_token: Some("t".into()), ..Credentials::default() };
    let mut config = config_for(&server.url, credentials);
    config.bwlimit = bwlimit;
    let sent = Arc::new(Sent::default());
    let client = Client::with_timeouts(config, SHORT, Arc::clone(&sent) as _).unwrap();
    let archive = ARCHIVE.get_or_init(|| Bytes::from(vec![b'z'; LARGE])).slice(..bytes);
    let outcome = client.upload("a.zip", archive, &Seen::default()).await;
    (outcome, sent.0.load(Ordering::Relaxed))
}

/// One fault and then none: the archive arrives, and what may be an orphan is known.
async fn recovers(does: Does, bytes: usize, possible_orphans: u32) {
    let server = Server::start(&[does, Does::Accepts]);
    let (outcome, _) = upload(&server, bytes, None).await;
    let uploaded = outcome.unwrap_or_else(|error| panic!("{does:?}: {error:?}"));
    assert_eq!((uploaded.attempts, uploaded.possible_orphans), (2, possible_orphans), "{does:?}");
}

#[tokio::test]
async fn a_connection_that_ends_within_the_body_leaves_no_orphan() {
    let mut ends: Vec<usize> = vec![0, 1, 100, 400, 1000, 100_000];
    // Of the last megabytes, the sockets may hold all: then they count as sent.
    ends.extend((1..10).map(|part| LARGE / 16 * part));
    futures_util::future::join_all(ends.into_iter().map(|at| recovers(Does::EndsAt(at), LARGE, 0))).await;
}

#[tokio::test]
async fn a_server_that_stops_reading_is_given_up_and_leaves_no_orphan() {
    let stalls = [0, 500, 100_000, 1 << 20].map(|at| recovers(Does::StallsAt(at), LARGE, 0));
    futures_util::future::join_all(stalls).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_may_be_an_orphan() {
    for does in [
        Does::KeepsSilent,
        Does::LosesTheAnswer,
        Does::SpeaksNoHttp,
        Does::CutsTheAnswer,
        Does::AnswersWithoutEnd,
        Does::AnswersWithAHeadAlone,
    ] {
        recovers(does, SMALL, 1).await;
    }
}

#[tokio::test]
async fn slow_reading_is_no_fault() {
    let server = Server::start(&[Does::ReadsSlowly]);
    let begun = Instant::now();
    let (outcome, sent) = upload(&server, LARGE / 4, None).await;
    assert_eq!(outcome.unwrap().attempts, 1);
    assert!(sent > LARGE as u64 / 4);
    // It took longer than any timeout: none of them counts while bytes move.
    assert!(begun.elapsed() > SHORT.stall, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_that_comes_while_the_body_is_going_is_read_and_the_body_given_up() {
    for at in [500, 100_000, 1 << 20] {
        let server = Server::start(&[Does::AnswersEarly(at, 413)]);
        let (outcome, sent) = upload(&server, LARGE, None).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind, error.http_status), (ErrorKind::ChunkRefused, Some(413)), "{at}");
        assert!(sent < LARGE as u64, "{at}: {sent} bytes were handed over");
    }
}

#[tokio::test]
async fn the_bandwidth_limit_holds_over_a_socket() {
    let server = Server::start(&[Does::Accepts]);
    let begun = Instant::now();
    let (outcome, _) = upload(&server, 100_000, Some(200_000)).await;
    outcome.unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!((0.4..2.0).contains(&took), "{took} s for half a second of bytes");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server { url: format!("http://{address}"), connections: Arc::default() };
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        accept(TcpListener::bind(address).await.unwrap(), vec![Does::Accepts], Arc::default()).await;
    });
    let (outcome, _) = upload(&server, SMALL, None).await;
    let uploaded = outcome.unwrap();
    assert!(uploaded.attempts >= 2);
    assert_eq!(uploaded.possible_orphans, 0);
    later.await.unwrap();
    assert!(server.connections.lock().unwrap().is_empty());
}

//! A client that sends exactly the bytes it is told and judges nothing: what no HTTP library would send, it can.
#![allow(clippy::unwrap_used)] // Only tests call this; clippy.toml's leave reaches functions marked as tests alone.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use upload::sandbox::{Sandbox, SandboxConfig};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A sandbox and its directory.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    /// A sandbox on a free port; `faults` is its plan.
    pub(crate) async fn start(faults: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(config(&dir, faults)).await.unwrap();
        Bench { sandbox, dir }
    }

    /// The upload that the sandbox takes, of a small archive.
    pub(crate) fn upload(&self) -> Request {
        self.upload_of(&archive(&[("Leads.csv", "Last_Name,Key\nAdler,k1\n")]))
    }

    pub(crate) fn upload_of(&self, archive: &[u8]) -> Request {
        let token = self.sandbox.issue_access_token();
        Request::post("/crm/v2/upload")
            .header("Authorization", &format!("Zoho-oauthtoken {token}"))
            .header("feature", "bulk-write")
            .header("X-CRM-ORG", self.sandbox.org())
            .header("Content-Type", "multipart/form-data; boundary=edge")
            .body(&form("file", "Leads-00001.zip", archive))
    }

    /// The token request that the sandbox takes.
    pub(crate) fn token(&self) -> Request {
        let sandbox = &self.sandbox;
        let body = format!(
            "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
            sandbox.client_id(),
            sandbox.client_secret(),
            sandbox.refresh_token()
        );
        Request::post("/oauth/v2/token")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.as_bytes())
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        self.try_send(&request).await.expect("an answer")
    }

    /// Sends and reads on a connection of its own; the error is what the socket said instead of an answer.
    pub(crate) async fn try_send(&self, request: &Request) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.sandbox.address()).await?;
        // Where the server answers or resets in mid-body, what it said counts, not that writing failed.
        let written = stream.write_all(&request.bytes()).await;
        let answer = read_answer(&mut stream).await;
        if answer.is_err() { written.and(answer) } else { answer }
    }

    /// The bytes kept under that id.
    pub(crate) fn kept(&self, id: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(format!("kept/{id}.zip"))).unwrap()
    }

    /// How many archives are kept.
    pub(crate) fn kept_count(&self) -> usize {
        self.dir.path().join("kept").read_dir().unwrap().count()
    }
}

pub(crate) fn config(dir: &tempfile::TempDir, faults: &str) -> SandboxConfig {
    SandboxConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        dir: dir.path().join("kept"),
        faults: Some(faults.to_owned()),
        seed: 1,
    }
}

/// A request that can be bent before it is sent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn get(path: &str) -> Request {
        Request { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn post(path: &str) -> Request {
        Request { method: "POST", ..Request::get(path) }
    }

    pub(crate) fn at(mut self, path: &str) -> Request {
        self.path = path.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Request {
        self = self.without(name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Request {
        self.body = body.to_vec();
        self.header("Content-Length", &body.len().to_string())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: sandbox\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn file_id(&self) -> String {
        self.json()["details"]["file_id"].as_str().expect("a file_id").to_owned()
    }

    /// Status, `code` and `message`.
    pub(crate) fn said(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("message"))
    }
}

/// Reads one answer: its head, then as many bytes as it announces.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(cut());
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).expect("an ASCII head");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let status = status.parse().expect("a status");
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let announced = headers.iter().find(|(name, _)| name == "content-length");
    let announced: usize = announced.map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = bytes.split_off(head_len + 4);
    while body.len() < announced {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(cut());
        }
    }
    assert_eq!(body.len(), announced, "bytes after the answer");
    Ok(Answer { status, headers, body })
}

/// A form of one part, with the boundary `edge`.
pub(crate) fn form(name: &str, file_name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/zip\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--edge--\r\n"].concat()
}

pub(crate) fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An archive of that many bytes at least, whose one CSV does not compress.
pub(crate) fn archive_of_bytes(bytes: usize) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("Leads.csv", stored).unwrap();
    let row = format!("{}\n", "x".repeat(9_999));
    writer.write_all(row.repeat(bytes.div_ceil(row.len())).as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

//! The targets of outputs: standard output, files, HTTP collectors.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::PathBuf,
    time::Duration,
};

use awc::http::Method;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};

use super::{
    output::{Failure, Sink},
    plan::{Body, HttpTarget},
};
use crate::outbound::{self, Call, OutboundClient};

pub(super) struct StdoutSink {
    /// Not `io::stdout()`, whose buffer would not say what has left it.
    pub out: File,
    /// What was written last ends within a line.
    torn: bool,
    /// The last batch was given up: its rest will not come.
    gave_up: bool,
}

impl StdoutSink {
    pub fn new(out: File) -> Self {
        Self { out, torn: false, gave_up: false }
    }
}

impl Sink for StdoutSink {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        // Or the first line would be glued to half of another.
        if std::mem::take(&mut self.gave_up) && self.torn {
            batch.insert(0, b'\n');
        }
        loop {
            let (last, result) = write(&mut self.out, batch);
            self.torn = last.map_or(self.torn, |last| last != b'\n');
            match result.map_err(|error| error.kind()) {
                Ok(()) => return Ok(()),
                // Whoever shares standard output with us has made it so; this thread may wait.
                Err(ErrorKind::WouldBlock) => {
                    // What is wrong with it the next attempt tells.
                    let _ = poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], None);
                }
                Err(kind @ (ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) => {
                    return Err(Failure::Later(kind.to_string()));
                }
                // A closed pipe stays closed, and there is no other place to say so.
                Err(kind) => {
                    self.gave_up = true;
                    return Err(Failure::Never(kind.to_string()));
                }
            }
        }
    }
}

/// Writes as much of a batch as can be written and leaves the rest: `write_all` would not say how far
/// it came. Returns the last byte written, too.
fn write(file: &mut File, batch: &mut Vec<u8>) -> (Option<u8>, io::Result<()>) {
    let mut count = 0;
    let mut result = Ok(());
    while count < batch.len() && result.is_ok() {
        match file.write(&batch[count..]) {
            Ok(0) => result = Err(ErrorKind::WriteZero.into()),
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => result = Err(error),
        }
    }
    (batch.drain(..count).next_back(), result)
}

pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
}

impl FileSink {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        let later = |error: io::Error| Failure::Later(format!("{}: {error}", self.path.display()));
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().create(true).append(true).open(&self.path).map_err(later)?,
        };
        write(&mut file, batch).1.map_err(later)?;
        self.file = Some(file);
        Ok(())
    }

    fn reopen(&mut self) {
        // Opened by the next line, but also at once, so that the tool that moved the old file away
        // finds the new one.
        self.file = OpenOptions::new().create(true).append(true).open(&self.path).ok();
    }
}

pub(super) struct HttpSink {
    target: HttpTarget,
    client: OutboundClient,
}

impl HttpSink {
    pub fn new(target: HttpTarget, client: OutboundClient) -> Self {
        Self { target, client }
    }

    fn call(&self, batch: &[u8]) -> Result<Call, Failure> {
        let target = &self.target;
        let scheme = if target.tls { "https" } else { "http" };
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        let mut call = Call::new(Method::POST, format!("{scheme}://{host}:{}{}", target.port, target.uri));
        let (content_type, body) = match target.body {
            Body::JsonLines => ("application/x-ndjson", Bytes::copy_from_slice(batch)),
            Body::JsonArray => ("application/json", array(batch)),
        };
        call.body = body;
        call.proxy.clone_from(&target.proxy);
        if !target.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            call.headers.push(("content-type".into(), content_type.into()));
        }
        for (name, value) in &target.headers {
            call.headers.push((name.clone(), value.expose().clone()));
        }
        if target.tls && !target.verify {
            call.tls = Some(
                outbound::any_server()
                    .ok_or_else(|| Failure::Never("TLS cannot be configured".to_owned()))?,
            );
        }
        Ok(call)
    }
}

/// Lines of JSON as one array.
fn array(lines: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(lines.len() + 2);
    body.push(b'[');
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(line);
    }
    body.push(b']');
    body.into()
}

impl Sink for HttpSink {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        match self.client.call(self.call(batch)?) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                batch.clear();
                Ok(())
            }
            Ok(answer) if matches!(answer.status, 408 | 429 | 500..) => {
                Err(Failure::Later(format!("status {}", answer.status)))
            }
            Ok(answer) => Err(Failure::Never(format!("status {}", answer.status))),
            Err(error) if error.may_pass() => Err(Failure::Later(error.to_string())),
            Err(error) => Err(Failure::Never(error.to_string())),
        }
    }

    /// Fluent Bit, whose parameters these are, sends once a second.
    fn batching(&self) -> (Duration, usize) {
        (Duration::from_secs(1), 512 * 1024)
    }
}

/// Lines kept for a test.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("whole").clone()).expect("UTF-8")
    }
}

#[cfg(test)]
impl Sink for Captured {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        self.0.lock().expect("whole").append(batch);
        Ok(())
    }
}

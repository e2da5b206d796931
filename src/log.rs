//! The system log: one line an event, `event key=value …`, for whoever watches the service from outside.
//!
//! Logging never fails and never blocks a request: a receiver that is slow or gone costs lines, and one that comes back
//! gets the next.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;

use syslog::{Facility, Formatter3164, LogFormat};

use crate::config;
use crate::record::audit::Recorded;

/// The longest line that is sent: what receivers take without cutting (RFC 5424 section 6.1 and rsyslog's default).
const MAX_LINE: usize = 8000;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// What is expected.
    Info,
    /// What somebody should look at some time.
    Warning,
    /// What somebody should look at now.
    Error,
}

/// The way to the system log.
pub struct Log {
    path: PathBuf,
    formatter: Formatter3164,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Log {
    /// Prepares logging; nothing is connected yet.
    pub fn open(config: &config::Syslog) -> Self {
        let process = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let formatter = Formatter3164 {
            facility: config.facility.parse().unwrap_or(Facility::LOG_DAEMON),
            hostname: None,
            process: process.unwrap_or_else(|| "invirtibuilder".to_owned()),
            pid: std::process::id(),
        };
        Self { path: config.socket.clone(), formatter, socket: Mutex::new(None) }
    }

    /// Sends one event.
    pub fn event(&self, severity: Severity, name: &str, fields: &[(&str, &str)]) {
        let severity = match severity {
            Severity::Info => syslog::Severity::LOG_INFO,
            Severity::Warning => syslog::Severity::LOG_WARNING,
            Severity::Error => syslog::Severity::LOG_ERR,
        };
        let mut packet = Vec::new();
        if self.formatter.format(&mut packet, severity, line(name, fields)).is_ok() {
            self.send(&packet);
        }
    }

    /// Sends an entry of the audit trail: so there is a copy of it elsewhere, with the hash that ties it to all before.
    pub fn audit(&self, entry: &Recorded) {
        let (id, job) = (entry.id.to_string(), entry.job.map_or_else(String::new, |job| job.to_string()));
        let mut fields = vec![("id", &id[..]), ("hash", &entry.hash), ("event", &entry.event)];
        if !job.is_empty() {
            fields.push(("job", &job));
        }
        let more = entry.fields();
        fields.extend(more.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.event(Severity::Info, "audit", &fields);
    }

    fn send(&self, packet: &[u8]) {
        let mut socket = self.socket.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A receiver that was restarted has another socket at the same path: connect again, once.
        for _ in 0..2 {
            if socket.is_none() {
                *socket = self.connect().ok();
            }
            match socket.as_ref().map(|socket| socket.send(packet)) {
                Some(Err(error)) if error.kind() != std::io::ErrorKind::WouldBlock => *socket = None,
                _ => return,
            }
        }
    }

    fn connect(&self) -> std::io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

/// `name key=value …`; a value with anything but plain characters is quoted, and control characters are escaped.
fn line(name: &str, fields: &[(&str, &str)]) -> String {
    let mut line = name.to_owned();
    for (key, value) in fields {
        let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !"\"\\=".contains(c));
        let value = crate::text::one_line(value);
        let _ = if plain {
            write!(line, " {key}={value}")
        } else {
            write!(line, " {key}=\"{}\"", value.replace('"', "\\\""))
        };
    }
    let mut end = line.len().min(MAX_LINE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &std::path::Path) -> config::Syslog {
        config::Syslog { facility: "local3".into(), socket: dir.join("log") }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buf = [0; 9000];
        let n = socket.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
        let log = Log::open(&config(dir.path()));
        log.event(Severity::Warning, "denied", &[("principal", "a@R"), ("why", "no \"x\"\nfake")]);
        let line = received(&receiver);
        assert!(line.starts_with("<156>"), "{line}");
        assert!(line.ends_with(": denied principal=a@R why=\"no \\\"x\\\"\\nfake\""), "{line}");
        log.event(Severity::Info, "big", &[("x", &"ä".repeat(9000))]);
        assert!(received(&receiver).len() <= MAX_LINE + 100);
    }

    #[test]
    fn a_receiver_may_be_missing_late_or_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(&config(dir.path()));
        log.event(Severity::Info, "nobody", &[]);
        for name in ["first", "second"] {
            let receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
            log.event(Severity::Info, name, &[]);
            assert!(received(&receiver).ends_with(name));
            drop(receiver);
            std::fs::remove_file(dir.path().join("log")).unwrap();
        }
    }

    #[test]
    fn a_receiver_that_does_not_read_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let _receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
        let log = Log::open(&config(dir.path()));
        (0..10_000).for_each(|_| log.event(Severity::Info, "flood", &[("x", "y")]));
    }
}

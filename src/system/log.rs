//! Writes events to the system log: a layer of the crate tracing over the crate syslog. An event is
//! one line, `event key=value …`, for people and programs that watch the service from outside. Its
//! message is its name, and the fields of the spans around it come first: `job=12 attempt=2` for
//! all that is done for a job.
//!
//! Logging never fails and never blocks a request: a receiver that is slow or gone costs lines, and
//! one that comes back gets the next.

use std::fmt::{Debug, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;

use syslog::{Facility, Formatter3164, LogFormat};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry, Scope};

use invirtibuilder_core::config;

/// The longest line that we send, in bytes: receivers take it without cutting (RFC 5424 section 6.1
/// and rsyslog's default).
const MAX_LINE: usize = 8000;

/// Sends the events of this process to the system log from now on. The first call counts.
pub fn install(config: &config::Syslog) {
    let _ = tracing::subscriber::set_global_default(subscriber(config));
}

/// Makes what sends events to the system log. Nothing is connected before the first one.
pub fn subscriber(config: &config::Syslog) -> impl Subscriber + Send + Sync + use<> {
    Registry::default().with(SystemLog::new(config))
}

/// The connection to the system log.
struct SystemLog {
    path: PathBuf,
    formatter: Formatter3164,
    socket: Mutex<Option<UnixDatagram>>,
}

impl SystemLog {
    fn new(config: &config::Syslog) -> Self {
        let process = std::env::current_exe()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let formatter = Formatter3164 {
            facility: config.facility.parse().unwrap_or(Facility::LOG_DAEMON),
            hostname: None,
            process: process.unwrap_or_else(|| "invirtibuilder".to_owned()),
            pid: std::process::id(),
        };
        Self { path: config.socket.clone(), formatter, socket: Mutex::new(None) }
    }

    fn send(&self, packet: &[u8]) {
        let mut socket = self.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A receiver that was restarted has another socket at the same path: connect again, once.
        for _ in 0..2 {
            if socket.is_none() {
                *socket = self.connect().ok();
            }
            match socket.as_ref().map(|socket| socket.send(packet)) {
                Some(Err(error)) if error.kind() != std::io::ErrorKind::WouldBlock => {
                    *socket = None;
                }
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SystemLog {
    /// Lets no library's events through.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("invirtibuilder")
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut words = Words::default();
        attributes.record(&mut words);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(words);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let mut line = words.name;
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(around) = span.extensions().get::<Words>() {
                line.push_str(&around.fields);
            }
        }
        line.push_str(&words.fields);
        let severity = match *event.metadata().level() {
            Level::ERROR => syslog::Severity::LOG_ERR,
            Level::WARN => syslog::Severity::LOG_WARNING,
            _ => syslog::Severity::LOG_INFO,
        };
        let mut packet = Vec::new();
        if self.formatter.format(&mut packet, severity, cut(line)).is_ok() {
            self.send(&packet);
        }
    }
}

/// The name of an event and its fields, as they are written.
#[derive(Default)]
struct Words {
    name: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.name = invirtibuilder_core::text::one_line(value);
        } else {
            push(&mut self.fields, field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Adds ` key=value`: it quotes a value with anything but plain characters, and escapes control
/// characters.
fn push(line: &mut String, key: &str, value: &str) {
    let plain =
        !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !"\"\\=".contains(c));
    let value = invirtibuilder_core::text::one_line(value);
    let _ = if plain {
        write!(line, " {key}={value}")
    } else {
        write!(line, " {key}=\"{}\"", value.replace('"', "\\\""))
    };
}

/// Writes `name key=value …`, for events whose fields only the program knows as it runs: this is
/// their message.
pub fn line(name: &str, fields: &[(&str, &str)]) -> String {
    let mut line = name.to_owned();
    fields.iter().for_each(|(key, value)| push(&mut line, key, value));
    line
}

fn cut(mut line: String) -> String {
    let mut end = line.len().min(MAX_LINE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use crate::log::*;

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
        tracing::subscriber::with_default(subscriber(&config(dir.path())), || {
            tracing::warn!(principal = "a@R", why = "no \"x\"\nfake", "denied");
            let sent = received(&receiver);
            assert!(sent.starts_with("<156>"), "{sent}");
            assert!(sent.ends_with(": denied principal=a@R why=\"no \\\"x\\\"\\nfake\""), "{sent}");
            tracing::info!(x = %"ä".repeat(9000), "big");
            assert!(received(&receiver).len() <= MAX_LINE + 100);
            let fields = [("x", "1 2"), ("y", "")];
            tracing::error!("{}", line("trouble", &fields));
            let sent = received(&receiver);
            assert!(
                sent.starts_with("<155>") && sent.ends_with(": trouble x=\"1 2\" y=\"\""),
                "{sent}"
            );
        });
    }

    #[test]
    fn an_event_has_what_the_spans_around_it_have() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
        tracing::subscriber::with_default(subscriber(&config(dir.path())), || {
            let job = tracing::info_span!("job", job = 12, attempt = 2).entered();
            let why: Option<&str> = None;
            tracing::info!(by = "alice", why, "cancelled");
            assert!(received(&receiver).ends_with(": cancelled job=12 attempt=2 by=alice"));
            let inner = tracing::info_span!("hook", hook = "10-mail").entered();
            tracing::info!("ran");
            assert!(received(&receiver).ends_with(": ran job=12 attempt=2 hook=10-mail"));
            tracing::info!(parent: None, "alone");
            assert!(received(&receiver).ends_with(": alone"));
            drop((inner, job));
            tracing::info!("outside");
            assert!(received(&receiver).ends_with(": outside"));
            tracing::info!(target: "hyper", "not ours");
            receiver.set_nonblocking(true).unwrap();
            assert!(receiver.recv(&mut [0; 10]).is_err());
        });
    }

    #[test]
    fn a_receiver_may_be_missing_late_or_restarted() {
        let dir = tempfile::tempdir().unwrap();
        tracing::subscriber::with_default(subscriber(&config(dir.path())), || {
            tracing::info!("nobody");
            for name in ["first", "second"] {
                let receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
                tracing::info!("{name}");
                assert!(received(&receiver).ends_with(name));
                drop(receiver);
                std::fs::remove_file(dir.path().join("log")).unwrap();
            }
        });
    }

    #[test]
    fn a_receiver_that_does_not_read_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let _receiver = UnixDatagram::bind(dir.path().join("log")).unwrap();
        tracing::subscriber::with_default(subscriber(&config(dir.path())), || {
            (0..10_000).for_each(|_| tracing::info!(x = "y", "flood"));
        });
    }
}

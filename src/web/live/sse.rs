//! The text of server-sent events, read and written.

use std::fmt::Write;

use bytes::Bytes;
use memchr::memchr;

/// The longest line of a stream that we read, in bytes: a piece of a log is far shorter.
const MAX_LINE: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its kind.
    pub event: String,
    /// Its data.
    pub data: String,
    /// Its number, if it has one.
    pub id: Option<String>,
}

/// A stream that is not one of events.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenStream;

/// Reads a stream of events piece by piece.
#[derive(Debug, Default)]
pub struct SseReader {
    rest: Vec<u8>,
    event: SseEvent,
}

impl SseReader {
    /// Takes a piece, and returns the events that end in it.
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<SseEvent>, BrokenStream> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &self.rest[start..]) {
            let line = &self.rest[start..start + length];
            start += length + 1;
            let line = std::str::from_utf8(line).map_err(|_| BrokenStream)?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    events.push(event);
                }
                continue;
            }
            self.event.add(line);
        }
        self.rest.drain(..start);
        if self.rest.len() > MAX_LINE || self.event.data.len() > MAX_LINE {
            return Err(BrokenStream);
        }
        Ok(events)
    }
}

impl SseEvent {
    fn add(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment, or what later versions have.
            _ => {}
        }
    }

    /// Writes it as it is sent.
    pub fn written(&self) -> Bytes {
        let mut text = String::with_capacity(self.data.len() + 64);
        if !self.event.is_empty() {
            let _ = writeln!(text, "event: {}", self.event);
        }
        if let Some(id) = &self.id {
            let _ = writeln!(text, "id: {id}");
        }
        for line in self.data.split('\n') {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use crate::live::sse::*;

    #[test]
    fn what_is_written_is_read_again_however_it_is_cut() {
        let events = [
            SseEvent { event: "log".into(), data: "{\"a\":1}".into(), id: Some("1:20".into()) },
            SseEvent { event: "state".into(), data: "one\ntwo".into(), id: None },
        ];
        let mut text = b": hello\n\n".to_vec();
        events.iter().for_each(|event| text.extend_from_slice(&event.written()));
        for size in 1..text.len() {
            let mut reader = SseReader::default();
            let read: Vec<SseEvent> =
                text.chunks(size).flat_map(|piece| reader.take(piece).unwrap()).collect();
            assert_eq!(read, events);
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut reader = SseReader::default();
        let piece = vec![b'x'; 1 << 20];
        let taken: Vec<_> = (0..6).map(|_| reader.take(&piece)).collect();
        assert!(taken[0].is_ok());
        assert_eq!(taken[5], Err(BrokenStream));
        assert_eq!(SseReader::default().take(b"data: \xff\n"), Err(BrokenStream));
    }
}

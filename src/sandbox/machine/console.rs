//! Reads what a machine writes to its console: we need it only when the machine does not start.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The most bytes that are kept.
const KEPT: usize = 16 << 10;

/// The most lines that are shown.
const LINES: usize = 25;

/// The end of what the machine wrote.
#[derive(Default)]
pub struct Console {
    end: Arc<Mutex<VecDeque<u8>>>,
}

impl Console {
    /// Reads `from` from now on, so that the machine never waits for a reader.
    pub fn watch(&self, mut from: impl Read + Send + 'static) {
        let end = self.end.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(got @ 1..) = from.read(&mut buffer) {
                let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
                end.extend(&buffer[..got]);
                let surplus = end.len().saturating_sub(KEPT);
                end.drain(..surplus);
            }
        });
    }

    /// Returns its last lines, safe to show.
    pub fn tail(&self) -> Vec<String> {
        let end: Vec<u8> =
            self.end.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&end);
        let lines: Vec<_> = text.lines().map(invirtibuilder_core::text::one_line).collect();
        lines[lines.len().saturating_sub(LINES)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::console::*;

    #[test]
    fn only_the_end_is_kept() {
        let console = Console::default();
        let text: String = (0..10_000).map(|n| format!("\x1b[2Jline {n}\n")).collect();
        console.watch(std::io::Cursor::new(text.into_bytes()));
        while console.tail().last().is_none_or(|line| !line.ends_with("line 9999")) {
            thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(console.tail().len(), LINES);
        assert!(console.end.lock().unwrap().len() <= KEPT);
        assert!(!console.tail().concat().contains('\x1b'));
    }
}

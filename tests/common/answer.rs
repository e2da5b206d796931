//! What a command said, and what a story expects of it.

use std::process::Command;

use serde_json::Value;

/// The end of a command.
#[derive(Debug)]
pub struct Answer {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The command, for messages.
    pub command: String,
}

impl Answer {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let done = command
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8(done.stdout).expect("output is UTF-8"),
            err: String::from_utf8(done.stderr).expect("errors are UTF-8"),
            command: format!("{command:?}").chars().take(400).collect(),
        }
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{} said\n{}{}", self.command, self.out, self.err);
        self
    }

    /// It was refused with this exit code, and in one sentence on standard error that holds these
    /// words.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{} said\n{}{}", self.command, self.out, self.err);
        assert_eq!(self.out, "", "{} printed before it refused", self.command);
        assert_eq!(self.err.lines().count(), 1, "not one sentence: {}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
        self
    }

    /// Its output holds these words.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.out.contains(word),
                "{word:?} is not in what {} said:\n{}{}",
                self.command,
                self.out,
                self.err
            );
        }
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{} printed no JSON ({e}): {}", self.command, self.out))
    }
}

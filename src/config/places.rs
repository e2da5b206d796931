//! Where in which file each key of the configuration stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser};

/// A key's path: map keys, and list indexes as numbers.
pub type KeyPath = Vec<String>;

/// File, line and column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The place of every key that was read.
#[derive(Debug, Default)]
pub struct Places {
    known: HashMap<KeyPath, Place>,
    first: Option<Place>,
}

enum Open {
    /// A map, and the key whose value comes next.
    Map(Option<String>),
    /// A list, and the index of what comes next.
    List(usize),
}

impl Places {
    /// Adds a file's; a key that an earlier file had is from then on at its place in this one. `text` parses.
    pub fn add(&mut self, file: &Path, text: &str) {
        let at = |line, column| Place { file: file.to_owned(), line, column };
        self.first.get_or_insert(at(1, 1));
        let mut open: Vec<Open> = Vec::new();
        let mut parser = Parser::new_from_str(text);
        while let Some(Ok((event, span))) = parser.next_event() {
            let is_end = matches!(event, Event::MappingEnd | Event::SequenceEnd);
            if is_end {
                open.pop();
                Self::value_ended(&mut open);
                continue;
            }
            let scalar = match &event {
                Event::Scalar(text, ..) => Some(text.to_string()),
                Event::Alias(_) => Some(String::new()),
                Event::MappingStart(..) | Event::SequenceStart(..) => None,
                _ => continue,
            };
            // Where a map's value stands is where its key stands.
            if let (Some(Open::Map(key @ None)), Some(name)) = (open.last_mut(), &scalar) {
                *key = Some(name.clone());
                self.known.insert(path(&open), at(span.start.line(), span.start.col() + 1));
                continue;
            }
            if let Some(Open::List(_)) = open.last() {
                self.known.insert(path(&open), at(span.start.line(), span.start.col() + 1));
            }
            match event {
                Event::MappingStart(..) => open.push(Open::Map(None)),
                Event::SequenceStart(..) => open.push(Open::List(0)),
                _ => Self::value_ended(&mut open),
            }
        }
    }

    fn value_ended(open: &mut [Open]) {
        match open.last_mut() {
            Some(Open::Map(key)) => *key = None,
            Some(Open::List(index)) => *index += 1,
            None => {}
        }
    }

    /// Where `path` stands, or the nearest thing around it that stands anywhere.
    pub fn find(&self, path: &[String]) -> Place {
        (0..=path.len())
            .rev()
            .find_map(|n| self.known.get(&path[..n]))
            .or(self.first.as_ref())
            .cloned()
            .unwrap_or(Place { file: PathBuf::new(), line: 1, column: 1 })
    }
}

fn path(open: &[Open]) -> KeyPath {
    open.iter()
        .map(|open| match open {
            Open::Map(key) => key.clone().unwrap_or_default(),
            Open::List(index) => index.to_string(),
        })
        .collect()
}

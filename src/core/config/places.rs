//! Finds where in which file each key of the configuration stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser};

/// A key's path: map keys, and list indexes as numbers.
pub type KeyPath = Vec<String>;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPlace {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// The place of every key that was read.
#[derive(Debug, Default)]
pub struct KeyPlaces {
    known: HashMap<KeyPath, ConfigPlace>,
    first: Option<ConfigPlace>,
}

enum OpenBlock {
    /// A map, and the key whose value comes next.
    Map(Option<String>),
    /// A list, and the index of what comes next.
    List(usize),
}

impl KeyPlaces {
    /// Adds the places of a file. A key that an earlier file had is from then on at its place in
    /// this one. `text` parses.
    pub fn add(&mut self, file: &Path, text: &str) {
        let at = |line, column| ConfigPlace { file: file.to_owned(), line, column };
        self.first.get_or_insert(at(1, 1));
        let mut open: Vec<OpenBlock> = Vec::new();
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
            if let (Some(OpenBlock::Map(key @ None)), Some(name)) = (open.last_mut(), &scalar) {
                *key = Some(name.clone());
                self.known.insert(path(&open), at(span.start.line(), span.start.col() + 1));
                continue;
            }
            if let Some(OpenBlock::List(_)) = open.last() {
                self.known.insert(path(&open), at(span.start.line(), span.start.col() + 1));
            }
            match event {
                Event::MappingStart(..) => open.push(OpenBlock::Map(None)),
                Event::SequenceStart(..) => open.push(OpenBlock::List(0)),
                _ => Self::value_ended(&mut open),
            }
        }
    }

    fn value_ended(open: &mut [OpenBlock]) {
        match open.last_mut() {
            Some(OpenBlock::Map(key)) => *key = None,
            Some(OpenBlock::List(index)) => *index += 1,
            None => {}
        }
    }

    /// Finds where `path` stands, or the nearest thing around it that stands anywhere.
    pub fn find(&self, path: &[String]) -> ConfigPlace {
        (0..=path.len())
            .rev()
            .find_map(|n| self.known.get(&path[..n]))
            .or(self.first.as_ref())
            .cloned()
            .unwrap_or(ConfigPlace { file: PathBuf::new(), line: 1, column: 1 })
    }
}

fn path(open: &[OpenBlock]) -> KeyPath {
    open.iter()
        .map(|open| match open {
            OpenBlock::Map(key) => key.clone().unwrap_or_default(),
            OpenBlock::List(index) => index.to_string(),
        })
        .collect()
}

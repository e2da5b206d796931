//! Long answers, a page at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of a long answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// What to ask for as `after` to get the next page; `None`: this is the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The most items of one page.
    pub const MOST: u32 = 500;

    /// Makes a page of the first `limit` items, of which one more was asked for. `key` says what the
    /// next page comes after.
    pub fn of(mut items: Vec<T>, limit: u32, key: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use crate::page::*;

    #[test]
    fn there_is_a_next_page_only_if_there_is_more() {
        let of = |n: u32, limit| Page::of((0..n).collect(), limit, ToString::to_string);
        assert_eq!(of(3, 3), Page { items: vec![0, 1, 2], next: None });
        assert_eq!(of(4, 3), Page { items: vec![0, 1, 2], next: Some("2".to_owned()) });
        assert_eq!(of(0, 3), Page { items: vec![], next: None });
    }
}

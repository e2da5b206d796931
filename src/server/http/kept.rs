//! Keeps answers that are dear to find and change slowly.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// How long an answer is given again.
const HOLDS: Duration = Duration::from_secs(60);

/// Answers to questions, each for a minute.
pub struct KeptAnswers<Q, A> {
    answers: Mutex<Vec<(Q, Instant, A)>>,
}

impl<Q, A> Default for KeptAnswers<Q, A> {
    fn default() -> Self {
        Self { answers: Mutex::default() }
    }
}

impl<Q: PartialEq, A: Clone> KeptAnswers<Q, A> {
    /// Returns the answer to a question, which `find` finds unless it is kept. Whoever asks
    /// meanwhile waits for it. An error is not kept.
    pub fn get(&self, question: Q, find: impl FnOnce() -> Result<A>) -> Result<A> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|(_, at, _)| at.elapsed() < HOLDS);
        if let Some((_, _, answer)) = answers.iter().find(|(of, _, _)| *of == question) {
            return Ok(answer.clone());
        }
        let answer = find()?;
        answers.push((question, Instant::now(), answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use crate::http::kept::*;

    #[test]
    fn an_answer_is_found_once_and_an_error_is_none() {
        let kept = KeptAnswers::default();
        assert!(kept.get(1, || bail!("not now")).is_err());
        assert_eq!(kept.get(1, || Ok("one")).unwrap(), "one");
        assert_eq!(kept.get(1, || bail!("nobody asks")).unwrap(), "one");
        assert_eq!(kept.get(2, || Ok("two")).unwrap(), "two");
    }
}

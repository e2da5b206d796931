//! Evaluates `regex:` and `pcre:`: patterns that a principal's name is searched for.
//!
//! We give them to the libraries that remctld gives them to, the C library's POSIX extended regular
//! expressions and PCRE2, as an ACL has to mean the same to both. A pattern that does not compile
//! is an error, and so is a search that a library gives up.
//!
//! libgit2 brings a PCRE2 of its own, with the same symbols. Whatever links both, and evaluates
//! patterns, says which one it takes: see `src/bin/invirt-build/build.rs`.

use std::ffi::CString;
use std::mem::MaybeUninit;

use crate::acl::syntax::shown;

/// The longest POSIX pattern, in bytes. The C library compiles by recursion: longer ones could use
/// up a thread's stack.
const MAX_POSIX: usize = 1000;

/// Tells whether `text` is found in `who`: regcomp(3) with `REG_EXTENDED`.
pub fn posix(text: &[u8], who: &str) -> Result<bool, String> {
    if text.len() > MAX_POSIX {
        return Err(format!("a pattern of {} bytes is too long: write shorter ones", text.len()));
    }
    let fail = |why: &str| format!("the pattern {} {why}", shown(text));
    let (Ok(text), Ok(who)) = (CString::new(text), CString::new(who)) else {
        return Err(fail("holds a NUL"));
    };
    let mut regex = MaybeUninit::<libc::regex_t>::zeroed();
    // SAFETY: both strings end in NUL and outlive the calls. regcomp fills the structure when it
    // returns 0, and only then it is used; regexec gets no array to write to; regfree is called
    // exactly once for what regcomp filled.
    #[allow(unsafe_code)]
    let (compiled, found) = unsafe {
        let compiled =
            libc::regcomp(regex.as_mut_ptr(), text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB);
        let mut found = libc::REG_NOMATCH;
        if compiled == 0 {
            found = libc::regexec(regex.as_ptr(), who.as_ptr(), 0, std::ptr::null_mut(), 0);
            libc::regfree(regex.as_mut_ptr());
        }
        (compiled, found)
    };
    match (compiled, found) {
        (0, 0) => Ok(true),
        (0, libc::REG_NOMATCH) => Ok(false),
        (0, _) => Err(fail("cannot be searched for")),
        _ => Err(fail("is not a POSIX extended regular expression")),
    }
}

/// Tells whether `text` is found in `who`: pcre2pattern(3) with `PCRE2_NO_AUTO_CAPTURE`.
pub fn pcre(text: &[u8], who: &str) -> Result<bool, String> {
    let fail = |why: String| format!("the pattern {}: {why}", shown(text));
    let text = std::str::from_utf8(text).map_err(|_| fail("it is not UTF-8".to_owned()))?;
    // The option is spelled inside the pattern, behind what may only stand at its start, such as
    // (*UTF).
    let mut start = 0;
    while let Some(rest) = text[start..].strip_prefix("(*") {
        let end = rest.find(')').filter(|&end| {
            rest[..end].bytes().all(|c| c.is_ascii_uppercase() || b"_=0123456789".contains(&c))
        });
        let Some(end) = end else { break };
        start += end + 3;
    }
    let text = format!("{}(?n){}", &text[..start], &text[start..]);
    let regex =
        pcre2::bytes::RegexBuilder::new().build(&text).map_err(|error| fail(error.to_string()))?;
    regex.is_match(who.as_bytes()).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::acl::pattern::*;

    #[test]
    fn posix_patterns_are_those_of_the_c_library() {
        let alice = |text: &str| posix(text.as_bytes(), "alice@EXAMPLE.ORG");
        for yes in [
            "",
            "^alice@",
            "EXAMPLE\\.ORG$",
            "^(alice|bob)@",
            "[[:upper:]]+",
            "l{1}i",
            "(l)ice",
            "^a.*G$",
            "a|",
        ] {
            assert_eq!(alice(yes), Ok(true), "{yes}");
        }
        for no in ["^bob", "ALICE", "\\d", "alice$", "^$"] {
            assert_eq!(alice(no), Ok(false), "{no}");
        }
        for bad in ["[", "(", "a{2,1}", "[[:nonsense:]]", "\\"] {
            assert!(alice(bad).is_err(), "{bad}");
        }
        assert!(alice("a\0b").is_err());
        assert!(alice(&"a".repeat(1001)).is_err());
    }

    #[test]
    fn pcre_patterns_are_those_of_pcre2() {
        let alice = |text: &str| pcre(text.as_bytes(), "alice@EXAMPLE.ORG");
        for yes in [
            "",
            "^alice@",
            "^(?!bob)",
            "(?i)ALICE",
            "\\w+@",
            "(?<n>l)ice",
            "(*UTF)^alice",
            "(*UCP)(*UTF)lice",
        ] {
            assert_eq!(alice(yes), Ok(true), "{yes}");
        }
        assert_eq!(alice("^bob"), Ok(false));
        // Plain groups do not capture, as in remctld.
        for bad in ["(", "(l)\\1", "[", "(*NONSENSE)a", "\\"] {
            assert!(alice(bad).is_err(), "{bad}");
        }
        assert!(pcre(b"\xff", "alice@R").is_err());
    }

    #[test]
    fn no_pattern_uses_up_a_threads_stack() {
        let deep = || {
            for text in [
                "(".repeat(1000),
                format!("{}{}", "(".repeat(499), ")".repeat(499)),
                "(a*".repeat(200) + &")*".repeat(200),
            ] {
                let _ = posix(text.as_bytes(), &"a".repeat(1000));
                let _ = pcre(text.as_bytes(), &"a".repeat(1000));
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(deep).unwrap().join().unwrap();
    }
}

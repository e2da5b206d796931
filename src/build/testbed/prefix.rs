//! What sbuild puts before a command that root runs: env(1) with variables, and a shell that changes the directory. The agent
//! can do that itself, and saves each of some fifty commands two programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A command, and where it is to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Prefixed<'a> {
    /// Variables to set.
    pub variables: Vec<(&'a OsStr, &'a OsStr)>,
    /// The directory.
    pub dir: &'a OsStr,
    /// The command's words.
    pub command: &'a [Vec<u8>],
}

impl<'a> Prefixed<'a> {
    /// Reads what sbuild has written; `None` if it is anything else, which is to be run as it is.
    pub fn parse(words: &'a [Vec<u8>]) -> Option<Self> {
        let (b"env", mut rest) = split(words)? else { return None };
        let mut variables = Vec::new();
        let script = loop {
            let (word, after) = split(rest)?;
            rest = after;
            match word.iter().position(|byte| *byte == b'=') {
                // Where the shell would be looked for.
                Some(_) if word.starts_with(b"PATH=") => return None,
                Some(0) => return None,
                Some(at) => variables.push((OsStr::from_bytes(&word[..at]), OsStr::from_bytes(&word[at + 1..]))),
                None if word == b"sh" => {
                    let (b"-c", after) = split(rest)? else { return None };
                    let (script, after) = split(after)?;
                    let (b"exec", after) = split(after)? else { return None };
                    rest = after;
                    break script;
                }
                None => return None,
            }
        };
        let dir = script.strip_prefix(b"cd ")?.strip_suffix(br#" && exec "$@""#)?;
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+-~".contains(byte);
        // What a shell would take as an option of its own is left to it.
        let is_command = rest.first()?.first().is_some_and(|byte| *byte == b'/' || byte.is_ascii_alphanumeric());
        let dir_is_plain = dir.starts_with(b"/") && dir.iter().all(is_plain);
        (dir_is_plain && is_command).then(|| Self { variables, dir: OsStr::from_bytes(dir), command: rest })
    }
}

fn split(words: &[Vec<u8>]) -> Option<(&[u8], &[Vec<u8>])> {
    words.split_first().map(|(first, rest)| (first.as_slice(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_sbuild_writes_is_read() {
        let all = words(&["env", "A=b=c d", "E=", "sh", "-c", r#"cd /a/b-1.0~x && exec "$@""#, "exec", "chmod", "7 7"]);
        let prefixed = Prefixed::parse(&all).unwrap();
        let text = |(name, value): &(&OsStr, &OsStr)| format!("{} {}", name.display(), value.display());
        assert_eq!(prefixed.variables.iter().map(text).collect::<Vec<_>>(), ["A b=c d", "E "]);
        assert_eq!((prefixed.dir, prefixed.command), (OsStr::new("/a/b-1.0~x"), &all[7..]));
    }

    #[test]
    fn anything_else_is_not() {
        const CD: &str = r#"cd / && exec "$@""#;
        for other in [
            &["env", "sh", "-c", CD, "exec"][..],
            &["env", "sh", "-c", CD, "exec", "-a"],
            &["env", "sh", "-c", CD, "true", "true"],
            &["env", "PATH=/bin", "sh", "-c", CD, "exec", "true"],
            &["env", "=x", "sh", "-c", CD, "exec", "true"],
            &["env", "-i", "sh", "-c", CD, "exec", "true"],
            &["env", "/sbin/runuser", "-u", "builder", "--", "sh", "-c", CD, "exec", "true"],
            &["env", "sh", "-c", r#"cd / && rm x && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd $HOME && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd a && exec "$@""#, "exec", "true"],
            &["env", "sh", "-e", CD, "exec", "true"],
            &["sh", "-c", CD, "exec", "true"],
            &["env"],
            &[],
        ] {
            assert_eq!(Prefixed::parse(&words(other)), None, "{other:?}");
        }
    }
}

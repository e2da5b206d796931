//! Reads what sbuild puts before a command that root runs: env(1) with variables, and a shell that
//! changes the directory. The agent of a chroot does that itself, and saves each of some fifty
//! commands two programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A command, and the variables and the directory that it runs with.
#[derive(Debug, PartialEq, Eq)]
pub struct Prefixed<'a> {
    variables: Vec<(&'a OsStr, &'a OsStr)>,
    /// The directory that the command runs in.
    pub dir: &'a OsStr,
    /// The command's words.
    pub command: &'a [Vec<u8>],
}

impl<'a> Prefixed<'a> {
    /// Reads what sbuild has written; `None` if it is anything else, which the agent runs as it is.
    pub fn parse(words: &'a [Vec<u8>]) -> Option<Self> {
        let (b"env", mut rest) = split(words)? else { return None };
        let mut variables = Vec::new();
        let script = loop {
            let (word, after) = split(rest)?;
            rest = after;
            match word.iter().position(|byte| *byte == b'=') {
                Some(at) => variables.push((&word[..at], &word[at + 1..])),
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
        // What a shell would take as an option of its own is left to it.
        let is_command =
            rest.first()?.first().is_some_and(|byte| *byte == b'/' || byte.is_ascii_alphanumeric());
        if !is_command
            || !is_plain(dir)
            || !variables.iter().all(|(name, value)| is_variable(name, value))
        {
            return None;
        }
        let variables = variables
            .into_iter()
            .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value)));
        Some(Self { variables: variables.collect(), dir: OsStr::from_bytes(dir), command: rest })
    }

    /// Lists what env(1) and dash(1), started in `/`, change in the environment.
    pub fn changes(&self) -> impl Iterator<Item = (&'a OsStr, &'a OsStr)> {
        let dirs = [(OsStr::new("OLDPWD"), OsStr::new("/")), (OsStr::new("PWD"), self.dir)];
        self.variables.iter().copied().chain(dirs)
    }
}

fn split(words: &[Vec<u8>]) -> Option<(&[u8], &[Vec<u8>])> {
    words.split_first().map(|(first, rest)| (first.as_slice(), rest))
}

/// Tells whether a directory is an absolute path that a shell takes as it is, and that is the same
/// to chdir(2).
fn is_plain(dir: &[u8]) -> bool {
    let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    let is_name = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    dir.iter().all(is_bare)
        && dir
            .strip_prefix(b"/")
            .is_some_and(|rest| rest.is_empty() || rest.split(|byte| *byte == b'/').all(is_name))
}

/// Tells whether a shell passes this variable on. In such a PATH it finds programs wherever it is.
fn is_variable(name: &[u8], value: &[u8]) -> bool {
    let is_name = name.first().is_some_and(|byte| *byte == b'_' || byte.is_ascii_alphabetic())
        && name.iter().all(|byte| *byte == b'_' || byte.is_ascii_alphanumeric());
    is_name
        && (name != b"PATH" || value.split(|byte| *byte == b':').all(|dir| dir.starts_with(b"/")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use crate::testbed::prefix::*;

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_sbuild_writes_is_read() {
        let dir = "/build/package/hello-2.10+ds";
        let script = format!(r#"cd {dir} && exec "$@""#);
        // The variables of 0.85, and those of 0.89.
        for variables in [&["A=b=c d", "E="][..], &["PATH=/usr/sbin:/usr/bin", "A=b=c d"]] {
            let all = words(
                &[&["env"], variables, &["sh", "-c", &script, "exec", "chmod", "7 7"]].concat(),
            );
            let prefixed = Prefixed::parse(&all).unwrap();
            assert_eq!((prefixed.dir, prefixed.command), (OsStr::new(dir), &all[7..]));
        }
    }

    /// The test runs them for comparison.
    #[test]
    fn the_environment_is_the_one_that_the_programs_leave() {
        for script in [r#"cd / && exec "$@""#, r#"cd /usr/bin && exec "$@""#] {
            let line = [
                "env",
                "A=b c",
                "HOME=/x",
                "PWD=/y",
                "PATH=/usr/bin:/bin",
                "sh",
                "-c",
                script,
                "exec",
                "env",
                "-0",
            ];
            let ran = std::process::Command::new(line[0])
                .args(&line[1..])
                .current_dir("/")
                .output()
                .unwrap();
            let mut theirs: Vec<_> =
                ran.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()).collect();
            theirs.sort_unstable();

            let line = words(&line);
            let mut ours: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
            ours.extend(
                Prefixed::parse(&line)
                    .unwrap()
                    .changes()
                    .map(|(name, value)| (name.into(), value.into())),
            );
            let mut ours: Vec<_> = ours
                .iter()
                .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
                .collect();
            ours.sort_unstable();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn anything_else_is_not() {
        const CD: &str = r#"cd / && exec "$@""#;
        for other in [
            &["env", "sh", "-c", CD, "exec"][..],
            &["env", "sh", "-c", CD, "exec", "-a"],
            &["env", "sh", "-c", CD, "true", "true"],
            &["env", "PATH=/bin:", "sh", "-c", CD, "exec", "true"],
            &["env", "PATH=bin", "sh", "-c", CD, "exec", "true"],
            &["env", "=x", "sh", "-c", CD, "exec", "true"],
            &["env", "a-b=x", "sh", "-c", CD, "exec", "true"],
            &["env", "-i", "sh", "-c", CD, "exec", "true"],
            &["env", "/sbin/runuser", "-u", "builder", "--", "sh", "-c", CD, "exec", "true"],
            &["env", "sh", "-c", r#"cd / && rm x && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd $HOME && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd '/a b' && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd a && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd /a/../b && exec "$@""#, "exec", "true"],
            &["env", "sh", "-c", r#"cd /a/ && exec "$@""#, "exec", "true"],
            &["env", "sh", "-e", CD, "exec", "true"],
            &["sh", "-c", CD, "exec", "true"],
            &["env"],
            &[],
        ] {
            assert_eq!(Prefixed::parse(&words(other)), None, "{other:?}");
        }
    }
}

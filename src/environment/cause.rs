//! Finds why apt or dpkg could not install what they were asked for, in their own words.

/// The errors that apt, mmdebstrap(1) or sbuild print after another program has said why.
const AFTER: [&str; 9] = [
    "E: mmdebstrap failed",
    "E: setup failed",
    "E: apt-get ",
    "E: env ",
    "E: Some index files failed to download",
    "E: Unable to fetch some archives",
    "E: Package installation failed",
    "E: Sub-process ",
    "E: Build failure",
];

/// Finds the line in which apt or dpkg says why; `None`: neither has said so.
pub fn find_cause(lines: &[&str]) -> Option<String> {
    let first = |start: &str| lines.iter().position(|line| line.starts_with(start));
    let is_after = |line: &str| AFTER.iter().any(|start| line.starts_with(start));
    let line = lines.iter().find(|line| line.starts_with("E: ") && !is_after(line)).copied();
    // A key that is missing is why it is not signed.
    let is_unsigned = line.is_some_and(|line| line.ends_with(" is not signed."));
    let key = first("W: GPG error: ")
        .filter(|_| is_unsigned)
        .map(|at| lines[at]["W: ".len()..].to_owned());
    // dpkg ends, and apt says so, where a package's own program fails.
    let ended = lines.iter().rposition(|line| line.starts_with("E: Sub-process ")).unwrap_or(0);
    let is_dpkgs = |line: &&str| {
        ["dpkg: error ", "dpkg: unrecoverable "].iter().any(|start| line.starts_with(start))
    };
    let script = lines[..ended].iter().position(is_dpkgs).map(|at| {
        let more =
            lines.get(at + 1).filter(|next| next.starts_with(' ')).map_or("", |next| next.trim());
        format!("{} {more}", lines[at])
    });
    let rest = || lines.iter().find(|line| line.starts_with("E: Sub-process ")).copied();
    let said = key.or(script).or_else(|| line.or_else(rest).map(str::to_owned))?;
    Some(invirtibuilder_core::text::one_line(said.trim()))
}

#[cfg(test)]
mod tests {

    const END: &str = "E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed\n\
                       I: main() received signal PIPE: waiting for setup...\n\
                       I: removing tempdir /tmp/mmdebstrap.oOULRe7jFV...\nE: mmdebstrap failed to run\n";

    /// The texts are what mmdebstrap 1.3.5 has printed.
    #[test]
    fn the_cause_is_what_apt_said() {
        let of = |text: &str| super::find_cause(&text.lines().collect::<Vec<_>>());
        let said = |text: &str| of(&format!("I: running apt-get update...\n{text}{END}"));
        for (text, right) in [
            (
                "Err:2 http://deb.debian.org/debian nosuch Release\n  404  Not Found [IP: 203.0.113.80 80]\nReading package lists...\n\
                 E: The repository 'http://deb.debian.org/debian nosuch Release' does not have a Release file.\n",
                "E: The repository 'http://deb.debian.org/debian nosuch Release' does not have a Release file.",
            ),
            (
                "E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect to 127.0.0.1:9 \
                 (127.0.0.1). - connect (111: Connection refused)\n\
                 E: Some index files failed to download. They have been ignored, or old ones used instead.\n",
                "E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect to 127.0.0.1:9 \
                 (127.0.0.1). - connect (111: Connection refused)",
            ),
            (
                "W: GPG error: http://m/debian bookworm InRelease: The following signatures couldn't be verified because the \
                 public key is not available: NO_PUBKEY 6ED0E7B82643E131\n\
                 E: The repository 'http://m/debian bookworm InRelease' is not signed.\n",
                "GPG error: http://m/debian bookworm InRelease: The following signatures couldn't be verified because the \
                 public key is not available: NO_PUBKEY 6ED0E7B82643E131",
            ),
            (
                "E: Release file for http://m/debian/dists/experimental/InRelease is expired (invalid since 22d 16h 19min 27s). \
                 Updates for this repository will not be applied.\n",
                "E: Release file for http://m/debian/dists/experimental/InRelease is expired (invalid since 22d 16h 19min 27s). \
                 Updates for this repository will not be applied.",
            ),
            (
                "dpkg: error processing package x (--configure):\n installed x package post-installation script subprocess \
                 returned error exit status 1\nE: Sub-process env returned an error code (1)\n",
                "dpkg: error processing package x (--configure): installed x package post-installation script subprocess \
                 returned error exit status 1",
            ),
        ] {
            assert_eq!(said(text).as_deref(), Some(right));
        }
        let full = "dpkg: unrecoverable fatal error, aborting:\n unable to fill /var/lib/dpkg/updates/tmp.i with padding: No space \
                    left on device\nE: Sub-process /usr/bin/dpkg returned an error code (2)\n";
        assert!(
            of(full).unwrap().ends_with(
                "aborting: unable to fill /var/lib/dpkg/updates/tmp.i with padding: No space left on device"
            )
        );
        let alone = "E: Sub-process /usr/bin/dpkg received a segmentation fault.\nE: Package installation failed\n";
        assert_eq!(
            of(alone).as_deref(),
            Some("E: Sub-process /usr/bin/dpkg received a segmentation fault.")
        );
        assert_eq!(of(END), None);
    }
}

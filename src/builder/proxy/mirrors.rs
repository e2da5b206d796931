//! Which files a sandbox may ask for: those below the chroot's own mirrors.

use hyper::Uri;

use invirtibuilder_core::manifest::AptSource;

/// The mirrors of a chroot.
#[derive(Debug, Clone)]
pub struct Mirrors(Vec<Mirror>);

#[derive(Debug, Clone)]
struct Mirror {
    /// As the host reaches it; ends with a slash.
    base: String,
    /// Host and port, as a request names them.
    authority: String,
    /// Ends with a slash.
    path: String,
}

impl Mirrors {
    /// Reads those of a chroot's sources. What is not reached over HTTP is left out.
    pub fn of(sources: &[AptSource]) -> Self {
        Self(sources.iter().filter_map(|source| Mirror::of(&source.uri)).collect())
    }

    /// Finds the URL to fetch for a request, if it is for a file of a mirror. Requests come over
    /// plain HTTP, also for mirrors that the host reaches over HTTPS.
    pub fn find(&self, uri: &Uri) -> Option<String> {
        let authority = uri.authority()?.as_str();
        if uri.scheme_str() != Some("http") || uri.query().is_some() || !is_plain(uri.path()) {
            return None;
        }
        self.0.iter().filter(|mirror| mirror.authority.eq_ignore_ascii_case(authority)).find_map(
            |mirror| {
                let rest = uri
                    .path()
                    .strip_prefix(&mirror.path)
                    .filter(|rest| !rest.is_empty() && !rest.ends_with('/'))?;
                Some(format!("{}{rest}", mirror.base))
            },
        )
    }
}

/// Finds a mirror's URL as apt is given it in a sandbox: over plain HTTP, and without the password
/// that it may hold.
pub fn seen_inside(uri: &str) -> Option<String> {
    let mirror = Mirror::of(uri)?;
    Some(format!("http://{}{}", mirror.authority, mirror.path))
}

impl Mirror {
    fn of(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let path = format!("/{}", path.trim_end_matches('/'));
        let path = if path == "/" { path } else { path + "/" };
        let base = format!("{}/", uri.trim_end_matches('/'));
        Some(Self { base, authority: authority.to_owned(), path })
    }
}

/// Tells whether a path means what it says: no way up, also not an encoded one, and no byte that an
/// archive does not use.
fn is_plain(path: &str) -> bool {
    let bytes = |c: char| c.is_ascii_alphanumeric() || "/.+-_~%:=,".contains(c);
    let lower = path.to_ascii_lowercase();
    let encoded = ["%2e", "%2f", "%5c", "%00", "%0a", "%0d"].iter().any(|bad| lower.contains(bad));
    path.chars().all(bytes) && !encoded && !path.split('/').any(|part| part == "." || part == "..")
}

#[cfg(test)]
mod tests {
    use crate::proxy::mirrors::*;

    #[test]
    fn only_files_of_the_mirrors_are_found() {
        let sources = [
            "http://deb.debian.org/debian/",
            "https://u:p@mirror.example.org:8443/x/debian-security",
            "file:///srv/mirror",
        ]
        .map(|uri| AptSource {
            uri: uri.into(),
            suite: "bookworm".parse().unwrap(),
            components: Vec::new(),
            key: None,
            options: Vec::new(),
        });
        let mirrors = Mirrors::of(&sources);
        let find = |uri: &str| uri.parse::<Uri>().ok().and_then(|uri| mirrors.find(&uri));
        let url = "http://deb.debian.org/debian/pool/main/g/g++_1%3a2~3.deb";
        assert_eq!(find(url).as_deref(), Some(url));
        assert_eq!(
            find("http://mirror.example.org:8443/x/debian-security/dists/InRelease").as_deref(),
            Some("https://u:p@mirror.example.org:8443/x/debian-security/dists/InRelease")
        );
        for bad in [
            "/debian/pool/x",
            "deb.debian.org:443",
            "http://deb.debian.org/",
            "http://deb.debian.org/debian/",
            "http://deb.debian.org/debian",
            "http://deb.debian.org/debian-security/x",
            "http://deb.debian.org/other/x",
            "http://deb.debian.org/debian/../x",
            "http://deb.debian.org/debian/a/%2e%2E/x",
            "http://deb.debian.org/debian/x?y",
            "http://deb.debian.org:22/debian/x",
            "http://u@deb.debian.org/debian/x",
            "https://deb.debian.org/debian/x",
            "ftp://deb.debian.org/debian/x",
            "http://deb.debian.org.evil.example/debian/x",
            "http://127.0.0.1/debian/x",
            "http://mirror.example.org/x/debian-security/y",
            "file:///srv/mirror/x",
        ] {
            assert_eq!(find(bad), None, "{bad}");
        }
    }

    #[test]
    fn mirrors_are_seen_over_plain_http() {
        assert_eq!(
            seen_inside("https://u:p@m.example.org/debian").as_deref(),
            Some("http://m.example.org/debian/")
        );
        assert_eq!(seen_inside("http://m.example.org").as_deref(), Some("http://m.example.org/"));
        assert_eq!(seen_inside("file:///srv/mirror"), None);
    }
}

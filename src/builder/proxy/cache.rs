//! Files of mirrors, fetched by the host's own apt, and kept for the next build.
//!
//! `apt-helper download-file` fetches, so that all that the host's apt configuration says about
//! proxies, certificates and passwords holds. Whoever gets a file checks it, as apt does; what is
//! kept for others was compared with its sum before (see [`super::sums`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::proxy::held::HeldBytes;
use crate::proxy::lists::{Lists, Stale};
use crate::proxy::sums::{self, PoolSums, Sum};
use invirtibuilder_core::text::hex;
use invirtibuilder_system::disk;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// apt's helper (apt(8), "apt-helper").
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// How long a suite's `InRelease` is good for. Debian's change four times a day.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// How long fetching one file may take. Nothing of it is answered before all of it is there.
pub const LIMIT: Duration = Duration::from_secs(30 * 60);

/// How often it is looked how long a file has become that is fetched.
const PACE: Duration = Duration::from_millis(100);

/// The most bytes that are kept.
const ROOM: u64 = 4 << 30;

/// The directory of files that were fetched. No build can write it.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    sums: PoolSums,
    lists: Lists,
    stale: Stale,
    pub(super) helper: PathBuf,
}

/// Why a file is not to be had.
#[derive(Debug)]
pub enum Trouble {
    /// The mirror does not have it.
    Absent,
    /// The build holds as much already as it may.
    NoRoom,
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What a file has to be.
enum Expected {
    /// One of these: by its name, or by an index.
    Sums(Vec<Sum>),
    /// It is not known.
    Anything,
}

/// The copy of a file of a mirror that a build takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The one that the cache keeps, while it is young enough.
    Kept,
    /// A new one: the build was given the other and asks again, so it could not use that.
    New,
}

impl Cache {
    /// Opens the cache in this directory, which is made if need be.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let sums = PoolSums::open(dir.join("sums"))?;
        Ok(Self {
            dir: dir.to_owned(),
            sums,
            lists: Lists::Kept,
            stale: Stale::default(),
            helper: HELPER.into(),
        })
    }

    /// Makes the same cache for those who are to be given these lists. What mirrors may say
    /// otherwise by now is noted.
    pub fn giving(self, lists: Lists, stale: Stale) -> Self {
        Self { lists, stale, ..self }
    }

    /// Opens a file of a mirror, at its beginning. As long as the file is open it takes room of
    /// `held`.
    pub async fn get(
        &self,
        url: &str,
        take: Take,
        held: &mut HeldBytes,
    ) -> Result<tokio::fs::File, Trouble> {
        let expected = self.expected(url)?;
        let path = expected.key(url).map(|key| self.dir.join(hex(&Sha256::digest(key))));
        let anew = take == Take::New || self.lists == Lists::Anew && lifetime(url) != Duration::MAX;
        let kept = path.as_ref().filter(|_| !anew).and_then(|path| Some((path, age(path)?)));
        if let Some((path, age)) = kept.filter(|(_, age)| *age < lifetime(url)) {
            let file = fs::File::open(path)?;
            if lifetime(url) != Duration::MAX {
                self.stale.note();
            }
            // What was of use lately is the last to go.
            if lifetime(url) == Duration::MAX && age > FRESH {
                let _ = file.set_modified(SystemTime::now());
            }
            return if held.grow(file.metadata()?.len()) {
                Ok(file.into())
            } else {
                Err(Trouble::NoRoom)
            };
        }
        let new = tempfile::Builder::new().prefix("new.").tempfile_in(&self.dir)?.into_temp_path();
        let file = self.fetch(url, &new, held).await;
        let looked = match file {
            Ok(()) => self.look(url, expected, fs::File::open(&new)?).await.map_err(Trouble::from),
            Err(trouble) => Err(trouble),
        };
        if is_named(url) && matches!(looked, Err(Trouble::Absent | Trouble::Other(_))) {
            self.stale.note();
        }
        let (file, is_right) = looked?;
        if let Some(path) = path.filter(|_| is_right) {
            new.persist(&path)?;
            disk::make_room(&self.dir, ROOM);
        }
        Ok(file.into())
    }

    fn expected(&self, url: &str) -> Result<Expected> {
        let sums = match Sum::of_name(url) {
            Some(sum) => vec![sum],
            None if sums::is_of_pool(url) => self.sums.of_pool(url)?,
            None => Vec::new(),
        };
        Ok(if sums.is_empty() { Expected::Anything } else { Expected::Sums(sums) })
    }

    /// apt's helper, which is to fetch this. What is asked for anew no cache on the way may have.
    fn helper(&self, url: &str) -> Cmd {
        let fresh = (self.lists == Lists::Anew && lifetime(url) != Duration::MAX).then_some([
            "-o",
            "Acquire::http::No-Cache=true",
            "-o",
            "Acquire::https::No-Cache=true",
        ]);
        Cmd::new(&self.helper).args(fresh.into_iter().flatten()).args(["download-file", url])
    }

    async fn fetch(&self, url: &str, to: &Path, held: &mut HeldBytes) -> Result<(), Trouble> {
        let stop = CancellationToken::new();
        let fetching = self.helper(url).arg(to).total(LIMIT).capture(1 << 20).run(&stop);
        tokio::pin!(fetching);
        let length = || fs::metadata(to).map_or(0, |file| file.len());
        let done = loop {
            tokio::select! {
                done = &mut fetching => break done?,
                () = sleep(PACE) => if !held.grow(length()) {
                    stop.cancel();
                },
            }
        };
        if !held.grow(length()) {
            return Err(Trouble::NoRoom);
        }
        if done.ok() {
            return Ok(());
        }
        let said = [&done.stdout[..], &done.stderr[..]].concat();
        if String::from_utf8_lossy(&said).contains("404  Not Found") {
            return Err(Trouble::Absent);
        }
        Err(anyhow::anyhow!(done.describe()).into())
    }

    /// Compares a file with what it has to be; whether it may be kept. Files may be long.
    async fn look(
        &self,
        url: &str,
        expected: Expected,
        file: fs::File,
    ) -> Result<(fs::File, bool)> {
        let (url, sums) = (url.to_owned(), self.sums.clone());
        let look = move || {
            use std::io::Seek;
            let mut is_right = is_kept(&url, &file);
            if let Expected::Sums(known) = expected {
                is_right = false;
                for sum in &known {
                    (&file).rewind()?;
                    is_right |= sum.fits(&file)?;
                }
                if !is_right {
                    let by = if sums::is_of_pool(&url) {
                        "the mirror's index says"
                    } else {
                        "its name says"
                    };
                    bail!(
                        "the mirror's answer for {} is not what {by}: try again later",
                        sums::shown(&url)
                    );
                }
            }
            (&file).rewind()?;
            // Where this is no index apt says so.
            let _ = sums.learn(&url, &file);
            (&file).rewind()?;
            Ok((file, is_right))
        };
        tokio::task::spawn_blocking(look).await?
    }

    /// As if it had been fetched, and an index had named it.
    #[cfg(test)]
    pub fn put(&self, url: &str, bytes: &[u8]) {
        self.sums.put(url, bytes);
        let key = self.expected(url).unwrap().key(url).unwrap();
        fs::write(self.dir.join(hex(&Sha256::digest(key))), bytes).unwrap();
    }
}

impl Expected {
    /// Returns what a file is kept under; `None`: it is not kept. A mirror that gives another file
    /// the same name has an index that says so, and what was kept before is not it.
    fn key(&self, url: &str) -> Option<String> {
        match self {
            // Where indexes do not agree, nobody knows which of them is of today.
            Self::Sums(sums) => match &sums[..] {
                [sum] => Some(format!("{url} {}", sum.as_str())),
                _ => None,
            },
            Self::Anything => (lifetime(url) == FRESH).then(|| url.to_owned()),
        }
    }
}

/// Tells whether apt asks for a file because another one has named it: who then does not have it
/// has said what holds no more.
fn is_named(url: &str) -> bool {
    sums::is_of_pool(url) || url.contains("/by-hash/") || url.contains("/Packages")
}

fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    // A clock that was set back makes nothing older.
    Some(SystemTime::now().duration_since(modified).unwrap_or_default())
}

/// Says how long a file is good for: what is in the pool, or is named by its hash, never changes.
fn lifetime(url: &str) -> Duration {
    if url.contains("/pool/") || url.contains("/by-hash/") {
        Duration::MAX
    } else if url.ends_with("/InRelease") {
        FRESH
    } else {
        Duration::ZERO
    }
}

/// Returns what is kept without a sum: an old `InRelease` does no harm if what it names is there by
/// its hash, and only then.
fn is_kept(url: &str, mut file: &fs::File) -> bool {
    use std::io::{Read, Seek};
    let kept = match lifetime(url) {
        Duration::ZERO | Duration::MAX => false,
        _ => {
            let mut head = vec![0; 4096];
            let length = file.read(&mut head).unwrap_or(0);
            String::from_utf8_lossy(&head[..length]).contains("\nAcquire-By-Hash: yes\n")
        }
    };
    kept && file.rewind().is_ok()
}

#[cfg(test)]
mod tests {
    use crate::proxy::cache::*;
    use crate::proxy::held::ProxyRoom;

    #[test]
    fn what_can_change_is_not_believed_for_long() {
        assert_eq!(lifetime("http://m/debian/pool/main/h/hello/hello_1_amd64.deb"), Duration::MAX);
        assert_eq!(
            lifetime("http://m/debian/dists/sid/main/binary-amd64/by-hash/SHA256/00"),
            Duration::MAX
        );
        assert_eq!(lifetime("http://m/debian/dists/sid/InRelease"), FRESH);
        assert_eq!(
            lifetime("http://m/debian/dists/sid/main/binary-amd64/Packages.xz"),
            Duration::ZERO
        );
        let dir = tempfile::tempdir().unwrap();
        let kept = |text: &str| {
            let path = dir.path().join("x");
            fs::write(&path, text).unwrap();
            is_kept("http://m/debian/dists/sid/InRelease", &fs::File::open(&path).unwrap())
        };
        assert!(kept("Suite: sid\nAcquire-By-Hash: yes\nMD5Sum:\n"));
        assert!(!kept("Suite: sid\nMD5Sum:\n"));
    }

    /// Makes a cache whose mirror answers with what is in the file `answer`, and the number of
    /// times that it was asked.
    fn mirrored(dir: &Path) -> (Cache, impl Fn(&[u8]), impl Fn() -> u64) {
        use std::os::unix::fs::PermissionsExt;
        let (helper, answer, asked) = (dir.join("helper"), dir.join("answer"), dir.join("asked"));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\nfor to; do :; done\ncat {} > \"$to\"\n",
            asked.display(),
            answer.display()
        );
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let cache = Cache { helper, ..Cache::open(&dir.join("cache")).unwrap() };
        let times =
            move || fs::read_to_string(&asked).map_or(0, |text| text.lines().count() as u64);
        (cache, move |bytes: &[u8]| fs::write(&answer, bytes).unwrap(), times)
    }

    async fn got(cache: &Cache, url: &str, take: Take) -> Result<Vec<u8>, String> {
        use tokio::io::AsyncReadExt;
        let mut bytes = Vec::new();
        match cache.get(url, take, &mut ProxyRoom::new(1 << 20).hold()).await {
            Ok(mut file) => {
                file.read_to_end(&mut bytes).await.map(|_| bytes).map_err(|error| error.to_string())
            }
            Err(Trouble::Other(error)) => Err(format!("{error:#}")),
            Err(trouble) => Err(format!("{trouble:?}")),
        }
    }

    #[tokio::test]
    async fn only_what_is_right_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, answer, times) = mirrored(dir.path());
        let pool = "http://m/debian/pool/main/h/hello_1_all.deb";
        let index = format!(
            "Filename: pool/main/h/hello_1_all.deb\nSHA256: {}\n",
            hex(&Sha256::digest("hello"))
        );
        let url = format!(
            "http://m/debian/dists/sid/main/binary-amd64/by-hash/SHA256/{}",
            hex(&Sha256::digest(&index))
        );
        answer(b"the index of another day");
        for _ in 0..2 {
            let said = got(&cache, &url, Take::Kept).await.unwrap_err();
            assert!(said.contains("is not what its name says"), "{said}");
        }
        answer(b"a page that says 200");
        assert_eq!(
            got(&cache, pool, Take::Kept).await.unwrap(),
            b"a page that says 200",
            "nobody knows what it is"
        );
        answer(b"hello");
        assert_eq!(
            got(&cache, pool, Take::Kept).await.unwrap(),
            b"hello",
            "what is not known is not kept"
        );
        answer(index.as_bytes());
        assert_eq!(got(&cache, &url, Take::Kept).await.unwrap(), index.as_bytes());
        let before = times();
        assert_eq!(got(&cache, &url, Take::Kept).await.unwrap(), index.as_bytes());
        assert_eq!(times(), before, "it is kept");
        answer(b"hallo");
        let said = got(&cache, pool, Take::Kept).await.unwrap_err();
        assert!(said.contains("'hello_1_all.deb' is not what the mirror's index says"), "{said}");
        answer(b"hello");
        assert_eq!(got(&cache, pool, Take::Kept).await.unwrap(), b"hello");
        answer(b"nonsense");
        let before = times();
        assert_eq!(got(&cache, pool, Take::Kept).await.unwrap(), b"hello");
        assert_eq!(times(), before);
        got(&cache, pool, Take::New).await.unwrap_err();
        assert_eq!(times(), before + 1, "who was given it already has the mirror asked");
        assert_eq!(
            got(&cache, pool, Take::Kept).await.unwrap(),
            b"hello",
            "a wrong answer replaces nothing"
        );
    }

    #[tokio::test]
    async fn what_may_be_old_is_noted_and_fetched_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, answer, times) = mirrored(dir.path());
        let giving = |lists| {
            let stale = Stale::default();
            (cache.clone().giving(lists, stale.clone()), stale)
        };
        let release = "http://m/debian/dists/sid/InRelease";
        answer(b"Suite: sid\nAcquire-By-Hash: yes\nDate: today\n");
        let (first, stale) = giving(Lists::Kept);
        got(&first, release, Take::Kept).await.unwrap();
        assert!(!stale.was_noted(), "it came from the mirror");
        answer(b"Suite: sid\nAcquire-By-Hash: yes\nDate: tomorrow\n");
        let (second, stale) = giving(Lists::Kept);
        assert!(
            got(&second, release, Take::Kept).await.unwrap().ends_with(b"today\n")
                && stale.was_noted()
        );
        let (third, stale) = giving(Lists::Anew);
        assert!(
            got(&third, release, Take::Kept).await.unwrap().ends_with(b"tomorrow\n")
                && !stale.was_noted()
        );
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        assert!(asked.lines().last().unwrap().contains("No-Cache=true"), "{asked}");
        assert_eq!(times(), 2);

        // A package under its old name with other bytes.
        let (fourth, stale) = giving(Lists::Kept);
        fourth.sums.put("http://m/debian/pool/x_1.deb", b"one");
        answer(b"two");
        got(&fourth, "http://m/debian/pool/x_1.deb", Take::Kept).await.unwrap_err();
        assert!(stale.was_noted());
    }

    #[tokio::test]
    async fn indexes_that_do_not_agree_keep_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, answer, times) = mirrored(dir.path());
        let pool = "http://m/debian/pool/x_1.deb";
        let learn = |suite: &str, bytes: &str| {
            let index = dir.path().join("index");
            fs::write(
                &index,
                format!("Filename: pool/x_1.deb\nSHA256: {}\n", hex(&Sha256::digest(bytes))),
            )
            .unwrap();
            let url = format!("http://m/debian/dists/{suite}/main/binary-amd64/Packages");
            cache.sums.learn(&url, &fs::File::open(&index).unwrap()).unwrap();
        };
        learn("old", "one");
        learn("new", "two");
        for bytes in [b"one", b"two"] {
            answer(bytes);
            assert_eq!(got(&cache, pool, Take::Kept).await.unwrap(), bytes);
        }
        assert_eq!(times(), 2, "the mirror is asked each time");
    }

    #[tokio::test]
    async fn a_build_holds_no_more_than_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, answer, _) = mirrored(dir.path());
        answer(&[0; 1000]);
        let room = ProxyRoom::new(1999);
        let (mut one, mut two) = (room.hold(), room.hold());
        cache.get("http://m/debian/ls-lR.gz", Take::Kept, &mut one).await.unwrap();
        let more = cache.get("http://m/debian/ls-lR.gz", Take::Kept, &mut two).await;
        assert!(matches!(more, Err(Trouble::NoRoom)), "{more:?}");
        drop(one);
        cache.get("http://m/debian/ls-lR.gz", Take::Kept, &mut two).await.unwrap();
        // An answer without an end is not waited for.
        fs::write(
            dir.path().join("helper"),
            "#!/bin/sh\nfor to; do :; done\nexec cat /dev/zero > \"$to\"\n",
        )
        .unwrap();
        let endless = cache
            .get("http://m/debian/ls-lR.gz", Take::Kept, &mut ProxyRoom::new(1 << 20).hold())
            .await;
        assert!(matches!(endless, Err(Trouble::NoRoom)), "{endless:?}");
        assert_eq!(
            fs::read_dir(dir.path().join("cache")).unwrap().count(),
            1,
            "nothing of it is left"
        );
    }
}

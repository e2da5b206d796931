//! Reads the control file of a binary package (deb(5)) without unpacking anything.
//!
//! What a package says here decides where it is shown and under which name, and dpkg reads it again
//! where it is installed. So we only read what can be read in one way at all: the members that
//! dpkg-deb makes in the order in which it makes them, plain files and links in the control
//! archive, each field once. We believe nothing that the file says about sizes. We ignore the
//! members that deb(5) has readers ignore, such as signatures (`_gpgorigin`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use deb822_fast::Paragraph;
use liblzma::stream::Stream;

use crate::control_tar::{MAX_MEMBER, control_file};
use invirtibuilder_core::stanza::Stanza;

/// The most memory that unpacking may take, in bytes: xz(1) needs 65 MiB at its highest level.
const MAX_MEMORY: u64 = 66 << 20;

/// The most memory that zstd may take, as the logarithm of its window.
const MAX_WINDOW: u32 = 26;

/// The suffixes of the ways in which the files of a package may be compressed: those that dpkg
/// reads.
const WAYS: [&str; 6] = ["", ".gz", ".xz", ".zst", ".bz2", ".lzma"];

/// The most members that are ignored. A signed package has one or two.
const MOST_IGNORED: usize = 100;

/// A lock that the reader holds while it unpacks a control archive: however many builds return
/// packages at once, the memory for one is enough.
static UNPACKING: Mutex<()> = Mutex::new(());

/// Reads the control file of a `.deb`, `.udeb` or `.ddeb`. Returns its fields, and its text. It
/// takes what the control archive unpacks to off `room`.
pub fn control(path: &Path, room: &mut u64) -> Result<(Paragraph, String)> {
    let mut file = BufReader::new(File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).context("it is no package")?;
    ensure!(magic == *b"!<arch>\n", "it is no package");
    let format = Member::next(&mut file)?;
    let mut version = [0; 4];
    ensure!(
        format.name == "debian-binary" && format.size == 4,
        "it does not begin with debian-binary 2.0"
    );
    file.read_exact(&mut version)?;
    ensure!(version == *b"2.0\n", "it is a package of another format than 2.0");
    format.skip(&mut file)?;
    let control = Member::next_known(&mut file)?;
    ensure!(
        control.size <= MAX_MEMBER,
        "its control archive is larger than {} MiB",
        MAX_MEMBER >> 20
    );
    let text = unpack(&control, &mut file, room).context("its control archive")?;
    control.skip(&mut file)?;
    let data = Member::next_known(&mut file)?;
    let way = data.name.strip_prefix("data.tar");
    ensure!(
        way.is_some_and(|way| WAYS.contains(&way)),
        "its third member is {}, not data.tar as dpkg-deb compresses it",
        invirtibuilder_core::text::quoted(&data.name)
    );
    ignored_to_the_end(&mut file, &data)?;
    ensure!(text.ends_with('\n'), "the last line of its control file has no end");
    Stanza::read(&text).context("its control file")?;
    Ok((text.parse().context("its control file does not parse")?, text))
}

/// Refuses a file that has anything but members that readers ignore behind `last`, or that is not
/// made of members to its end.
fn ignored_to_the_end(file: &mut BufReader<File>, last: &Member) -> Result<()> {
    let length = file.get_ref().metadata()?.len().next_multiple_of(2);
    let mut end = last.end.next_multiple_of(2);
    for _ in 0..=MOST_IGNORED {
        if end == length {
            return Ok(());
        }
        ensure!(end < length, "it ends in the middle of a member");
        file.seek(SeekFrom::Start(end))?;
        let member = Member::next(file).context("it does not end with data.tar")?;
        // Some readers look for a member by its name, wherever it is.
        let theirs = ["debian-binary", "control.tar", "data.tar"]
            .iter()
            .any(|name| member.name.starts_with(name));
        let shown = invirtibuilder_core::text::quoted(&member.name);
        ensure!(!theirs, "it does not end with data.tar: {shown} is behind it");
        ensure!(
            member.is_plain(),
            "it has the member {shown}, whose name is not letters, digits and -._+"
        );
        end = member.end.next_multiple_of(2);
    }
    bail!("it has more than {MOST_IGNORED} members behind data.tar")
}

fn unpack(control: &Member, file: &mut BufReader<File>, room: &mut u64) -> Result<String> {
    let _one = UNPACKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut data = control.data(file);
    // One stream, and all of it: dpkg reads the first one of xz's and all of others', and its
    // releases do not agree.
    let text = match control.name.as_str() {
        "control.tar" => control_file(&mut data, room),
        "control.tar.gz" => control_file(flate2::bufread::GzDecoder::new(&mut data), room),
        "control.tar.xz" => {
            let stream = Stream::new_stream_decoder(MAX_MEMORY, 0)?;
            control_file(liblzma::bufread::XzDecoder::new_stream(&mut data, stream), room)
        }
        "control.tar.zst" => {
            let mut decoder = zstd::Decoder::with_buffer(&mut data)?.single_frame();
            decoder.window_log_max(MAX_WINDOW)?;
            control_file(decoder, room)
        }
        other => bail!("it is {}, not control.tar", invirtibuilder_core::text::quoted(other)),
    }?;
    ensure!(data.fill_buf()?.is_empty(), "there is more behind its one stream");
    Ok(text)
}

/// A member of an ar(5) archive, as deb(5) uses it: no long names, no symbols.
struct Member {
    name: String,
    size: u64,
    end: u64,
}

impl Member {
    /// Reads the header of the member that begins here.
    fn next(file: &mut BufReader<File>) -> Result<Self> {
        let mut header = [0; 60];
        file.read_exact(&mut header).context("a member is missing")?;
        ensure!(header[58..] == *b"`\n", "a member has no header");
        let field = |from: usize, to: usize| {
            String::from_utf8_lossy(&header[from..to]).trim_end_matches(' ').to_owned()
        };
        let name = field(0, 16);
        let size = field(48, 58);
        let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        ensure!(plain, "the size of a member is no number");
        let size = size.parse()?;
        let begin = file.stream_position()?;
        Ok(Self {
            name: name.strip_suffix('/').unwrap_or(&name).to_owned(),
            size,
            end: begin + size,
        })
    }

    /// Finds the next member that readers do not ignore: those that they do have names that begin
    /// with an underscore.
    fn next_known(file: &mut BufReader<File>) -> Result<Self> {
        for _ in 0..=MOST_IGNORED {
            let member = Self::next(file)?;
            if !member.name.starts_with('_') || !member.is_plain() {
                return Ok(member);
            }
            member.skip(file)?;
        }
        bail!("it has more than {MOST_IGNORED} members before data.tar")
    }

    /// Tells whether the member's name means the same to all readers of ar(5) archives.
    fn is_plain(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
        !self.name.is_empty() && self.name.chars().all(plain)
    }

    fn data<'a>(&self, file: &'a mut BufReader<File>) -> impl BufRead + 'a {
        file.take(self.size)
    }

    /// Goes to where the next member begins.
    fn skip(&self, file: &mut BufReader<File>) -> Result<()> {
        file.seek(SeekFrom::Start(self.end.next_multiple_of(2)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::control_tar::MAX_TOGETHER;
    use std::io::Write;

    use crate::deb::*;

    const CONTROL: &str = "Package: hello\nVersion: 1\nArchitecture: all\nDescription: x\n y\n";

    /// Makes a member with a header that says what the test likes.
    fn raw(name: &str, size: &str, data: &[u8]) -> Vec<u8> {
        let mut member =
            format!("{name:<16}0           0     0     100644  {size:<10}`\n").into_bytes();
        member.extend(data);
        if data.len() % 2 == 1 {
            member.push(b'\n');
        }
        member
    }

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        raw(name, &data.len().to_string(), data)
    }

    /// A file of an archive: its kind, its name, and its text or the name that it points to.
    type Entry<'a> = (EntryType, &'a str, &'a str);

    fn owned(header: &mut tar::Header) {
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
    }

    fn tarred(entries: &[Entry]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(if *kind == Regular { text.len() as u64 } else { 0 });
            header.set_mode(0o644);
            owned(&mut header);
            if [Symlink, Link].contains(kind) {
                header.set_link_name(text).unwrap();
                header.set_cksum();
                tar.append(&header, std::io::empty()).unwrap();
            } else {
                header.set_cksum();
                tar.append(&header, text.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    fn gz(data: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(data).unwrap();
        gz.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 9);
        xz.write_all(data).unwrap();
        xz.finish().unwrap()
    }

    fn zst(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 19).unwrap()
    }

    fn deb(control: &[u8]) -> Vec<u8> {
        let parts = [
            member("debian-binary", b"2.0\n"),
            member("control.tar.gz", control),
            member("data.tar", b"odd"),
        ];
        [&b"!<arch>\n"[..], &parts.concat()].concat()
    }

    fn read(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        control(file.path(), &mut MAX_TOGETHER.clone())
            .map(|(_, text)| text)
            .map_err(|error| format!("{error:#}"))
    }

    use tar::EntryType;
    use tar::EntryType::{Directory, Link, Regular, Symlink};

    #[test]
    fn what_dpkg_deb_makes_is_read() {
        let inner = tarred(&[
            (Directory, "./", ""),
            (Regular, "./md5sums", ""),
            (Regular, "./control", CONTROL),
        ]);
        assert_eq!(read(&deb(&gz(&inner))).as_deref(), Ok(CONTROL));
        for (name, packed) in [
            ("control.tar", inner.clone()),
            ("control.tar.xz", xz(&inner)),
            ("control.tar.zst", zst(&inner)),
        ] {
            let parts = [
                member("debian-binary", b"2.0\n"),
                member(name, &packed),
                member("data.tar.bz2", b"even"),
            ];
            assert_eq!(
                read(&[&b"!<arch>\n"[..], &parts.concat()].concat()).as_deref(),
                Ok(CONTROL),
                "{name}"
            );
        }
    }

    #[test]
    fn members_that_readers_ignore_are_ignored() {
        let good = gz(&tarred(&[(Regular, "./control", CONTROL)]));
        let (first, control, data) = (
            member("debian-binary", b"2.0\n"),
            member("control.tar.gz", &good),
            member("data.tar", b"odd"),
        );
        let (signature, other) = (member("_gpgorigin", b"odd"), member("sig.x+1-2/", b""));
        for parts in [
            &[&first, &control, &data, &signature][..],
            &[&first, &control, &data, &signature, &other, &signature],
            &[&first, &signature, &control, &signature, &data],
        ] {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            assert_eq!(
                read(&[&b"!<arch>\n"[..], &parts.concat()].concat()).as_deref(),
                Ok(CONTROL)
            );
        }
    }

    #[test]
    fn scripts_that_are_links_are_taken_as_dpkg_takes_them() {
        let tar = tarred(&[
            (Directory, "./", ""),
            (Regular, "./control", CONTROL),
            (Regular, "./postinst", "#!/bin/sh\n"),
            (Link, "./prerm", "./postinst"),
            (Link, "./preinst", "postinst"),
            (Symlink, "./postrm", "/usr/share/hello/postrm"),
            (Link, "./config", "./postrm"),
        ]);
        assert_eq!(read(&deb(&gz(&tar))).as_deref(), Ok(CONTROL));
        let one = (Regular, "./control", CONTROL);
        for (entries, word) in [
            (
                [one, (Link, "./prerm", "./postinst")],
                "is a hard link to './postinst', which is not before it",
            ),
            ([one, (Link, "./prerm", "/etc/passwd")], "is a hard link to '/etc/passwd'"),
            ([one, (Link, "./x/y", "./control")], "neither a plain file in it nor a link"),
            ([(Regular, "./a", CONTROL), (Link, "./control", "./a")], "'./control' is a link"),
            ([one, (Symlink, "./control", "a")], "'./control' is a link"),
            ([one, (EntryType::Fifo, "./prerm", "")], "neither a plain file in it nor a link"),
        ] {
            let said = read(&deb(&gz(&tarred(&entries)))).unwrap_err();
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn members_that_say_two_things_are_refused() {
        let good = gz(&tarred(&[(Regular, "./control", CONTROL)]));
        let (first, control, data) = (
            member("debian-binary", b"2.0\n"),
            member("control.tar.gz", &good),
            member("data.tar", b""),
        );
        let signature = member("_gpgorigin", b"");
        let many: Vec<&[u8]> =
            [&[&first[..], &control, &data][..], &vec![&signature[..]; MOST_IGNORED + 1]].concat();
        let between: Vec<&[u8]> =
            [&[&first[..]][..], &vec![&signature[..]; MOST_IGNORED + 1], &[&control[..], &data]]
                .concat();
        let cases: [(&[&[u8]], &str); 24] = [
            (&many, "more than 100 members"),
            (&between, "more than 100 members"),
            (&[&signature, &first, &control, &data], "debian-binary"),
            (&[&first, &control, &data, &signature, &member("data.tar.xz", b"")], "does not end"),
            (&[&first, &control, &data, &member("debian-binary", b"2.0\n")], "does not end"),
            (&[&first, &control, &data, &member("#1/20", b"")], "the member '#1/20'"),
            (&[&first, &control, &data, &member("//", b"")], "the member '/'"),
            (
                &[&first, &control, &data, &raw("_gpgorigin", "100", b"")],
                "in the middle of a member",
            ),
            (&[&first, &control, &data, b"x\n"], "does not end"),
            (&[], "a member is missing"),
            (&[&control, &data], "debian-binary"),
            (&[&first, &data, &control], "not control.tar"),
            (&[&first, &control], "a member is missing"),
            (&[&first, &control, &control, &data], "not data.tar"),
            (&[&first, &control, &data, &control], "does not end"),
            (&[&first, &member("../../etc/x", b""), &control, &data], "'../../etc/x'"),
            (&[&first, &member("\x1b[2J", b""), &control, &data], "not control.tar"),
            // What an ar(5) reader may take for the length of a name, and allocate.
            (&[&first, &raw("#1/9999999999999", "9999999999", b""), &data], "larger than"),
            (&[&first, &raw("//", "9999999999", b""), &data], "larger than"),
            (&[&first, &raw("control.tar.gz", "9999999999", &good), &data], "larger than"),
            (&[&first, &raw("control.tar.gz", "-1", &good), &data], "no number"),
            (
                &[&first, &raw("control.tar.gz", &format!("+{}", good.len()), &good), &data],
                "no number",
            ),
            (&[&first, &control, &member("data.tar.Z", b"")], "not data.tar"),
            (&[&first, &control, &member("data.tarx", b"")], "not data.tar"),
        ];
        for (parts, word) in cases {
            let said = read(&[&b"!<arch>\n"[..], &parts.concat()].concat()).unwrap_err();
            assert!(said.contains(word) && !said.contains('\x1b'), "{word}: {said}");
        }
        assert!(read(b"!<thin>\n").is_err() && read(b"").is_err());
    }

    #[test]
    fn control_archives_that_say_two_things_are_refused() {
        let other = CONTROL.replace("hello", "bash");
        let one = (Regular, "./control", CONTROL);
        let cases: [(&[Entry], &str); 8] = [
            (&[one, (Regular, "./control", &other)], "twice"),
            (&[one, (Regular, "control", &other)], "twice"),
            (
                &[one, (Symlink, "./x", "."), (Regular, "./x/control", &other)],
                "neither a plain file",
            ),
            (&[one, (Regular, "././control", &other)], "neither a plain file"),
            (&[one, (Regular, "../control", &other)], "neither a plain file"),
            (&[one, (Regular, "/control", &other)], "neither a plain file"),
            (&[(Symlink, "./control", "/etc/passwd")], "is a link"),
            (&[(Regular, "./md5sums", "")], "no control file"),
        ];
        for (entries, word) in cases {
            let said = read(&deb(&gz(&tarred(entries)))).unwrap_err();
            assert!(said.contains(word), "{word}: {said}");
        }
        // A second stream behind the first, and what hides behind the end.
        let (first, second) = (tarred(&[one]), tarred(&[(Regular, "./control", &other)]));
        let open = &first[..first.len() - 1024];
        assert!(read(&deb(&gz(&[open, &second].concat()))).unwrap_err().contains("twice"));
        assert!(
            read(&deb(&gz(&[&first[..], &second].concat())))
                .unwrap_err()
                .contains("behind its end")
        );
        assert!(
            read(&deb(&[gz(open), gz(&second)].concat())).unwrap_err().contains("does not end")
        );
        for more in [gz(&second), vec![0; 4], b"x".to_vec()] {
            assert!(read(&deb(&[gz(&first), more].concat())).unwrap_err().contains("one stream"));
        }
        for (name, pack) in
            [("control.tar.xz", xz as fn(&[u8]) -> Vec<u8>), ("control.tar.zst", zst)]
        {
            for more in [pack(&second), b"x".to_vec(), vec![0; 4]] {
                let two = [pack(&first), more].concat();
                let parts = [
                    member("debian-binary", b"2.0\n"),
                    member(name, &two),
                    member("data.tar", b""),
                ];
                let said = read(&[&b"!<arch>\n"[..], &parts.concat()].concat()).unwrap_err();
                assert!(said.contains("one stream"), "{name}: {said}");
            }
        }
        // An extended header names the file that follows.
        for kind in [EntryType::XHeader, EntryType::XGlobalHeader] {
            let tar = tarred(&[(kind, "./PaxHeaders/control", ""), one]);
            assert!(read(&deb(&gz(&tar))).unwrap_err().contains("extended headers"));
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        let bomb = gz(&[tarred(&[(Regular, "./control", CONTROL)]), vec![0; 80 << 20]].concat());
        assert!(bomb.len() < 1 << 20 && read(&deb(&bomb)).unwrap_err().contains("unpacks to more"));
        let huge = "x".repeat(5 << 20);
        assert!(
            read(&deb(&gz(&tarred(&[(Regular, "./control", &huge)]))))
                .unwrap_err()
                .contains("larger than 304 KiB")
        );
        // A dictionary of 1.5 GiB.
        let header = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x24\0\0\0";
        let mut block = header.to_vec();
        let crc = crc32fast::hash(&block[12..20]);
        block.extend(crc.to_le_bytes());
        let parts = [
            member("debian-binary", b"2.0\n"),
            member("control.tar.xz", &block),
            member("data.tar", b""),
        ];
        let said = read(&[&b"!<arch>\n"[..], &parts.concat()].concat()).unwrap_err();
        assert!(said.contains("memory"), "{said}");
    }

    #[test]
    fn fields_that_say_two_things_are_refused() {
        let text = format!("{CONTROL}package: bash\n");
        assert!(
            read(&deb(&gz(&tarred(&[(Regular, "./control", &text)]))))
                .unwrap_err()
                .contains("twice")
        );
    }

    #[test]
    fn all_packages_of_a_version_have_one_room() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let padded = gz(&[tarred(&[(Regular, "./control", CONTROL)]), vec![0; 30 << 20]].concat());
        std::fs::write(file.path(), deb(&padded)).unwrap();
        let mut room = 80 << 20;
        for _ in 0..2 {
            control(file.path(), &mut room).unwrap();
        }
        assert!((19 << 20..21 << 20).contains(&room), "{room}");
        let said = format!("{:#}", control(file.path(), &mut room).unwrap_err());
        assert!(said.contains("to more than 256 MiB"), "{said}");
    }

    #[test]
    fn nobody_keeps_a_name_as_long_as_an_archive() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(8 << 20);
        header.set_mode(0);
        owned(&mut header);
        header.set_cksum();
        tar.append(&header, std::io::repeat(b'x').take(8 << 20)).unwrap();
        assert!(
            read(&deb(&gz(&tar.into_inner().unwrap()))).unwrap_err().contains("extended headers")
        );
        let names: Vec<String> =
            (0..=crate::control_tar::MAX_FILES).map(|n| format!("./f{n}")).collect();
        let many: Vec<Entry> = names.iter().map(|name| (Regular, &name[..], "")).collect();
        assert!(read(&deb(&gz(&tarred(&many)))).unwrap_err().contains("more than 1000 files"));
    }
}

//! Binary packages (deb(5)), made as the bytes of an input say: each byte is a choice, and 0 is
//! what dpkg-deb itself would do. So no bytes at all make an honest package, and each other one is
//! a place where it is not.

use std::io::Write;

/// What is left of an input.
pub struct Choices<'a> {
    input: &'a [u8],
    /// Whether all choices were honest ones until now.
    pub honest: bool,
    /// Whether what is to be installed is what dpkg-deb would write.
    pub data_is_whole: bool,
}

impl<'a> Choices<'a> {
    /// All of them.
    pub fn of(input: &'a [u8]) -> Self {
        Self { input, honest: true, data_is_whole: true }
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.input.split_first().unwrap_or((&0, &[]));
        self.input = rest;
        *first
    }

    /// One of several that are all honest.
    fn any<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()].clone()
    }

    /// The first one, which is honest, or another.
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let n = usize::from(self.byte()) % of.len();
        self.honest &= n == 0;
        of[n].clone()
    }

    fn odd(&mut self) -> bool {
        self.one(&[false, true])
    }

    fn place(&mut self, length: usize) -> usize {
        let n = usize::from(self.byte()) << 8 | usize::from(self.byte());
        n % (length + 1)
    }
}

/// Fields that packages have, as dpkg-gencontrol writes them.
const HONEST: &[&str] = &[
    "",
    "Source: x\n",
    "Source: y (2:1.0-1)\n",
    "Depends: a, b (>= 1.0-1~x) | c:any, d (<< 2)\n",
    "Pre-Depends: dpkg (>= 1.17.5)\n",
    "Provides: perlapi-5.36.0, z (= 1:2)\n",
    "Breaks: a (<< 1+b1)\n",
    "Conflicts: a:amd64\n",
    "Multi-Arch: foreign\n",
    "Essential: yes\n",
    "Protected: yes\n",
    "Installed-Size: 12\n",
    "Section: libs\n",
    "Priority: optional\n",
    "Homepage: https://example.org/\n",
    "Python-Version: 3\n",
    "Built-Using: gcc-12 (= 12.2.0-14)\n",
    "Auto-Built-Package: debug-symbols\n",
    "Tag: a::b, c::d,\n e::f\n",
    "Original-Maintainer: Zoë <z@example.org>\n",
    "Replaces: a (= 1), b (>> 2)\nRecommends: a | b\nSuggests: c\nEnhances: d\n",
];

/// Lines that others write.
const ODD: &[&str] = &[
    "",
    "package: bash\n",
    "Package: bash\n",
    "\nPackage: bash\n",
    " \n",
    "\t\n",
    " .\n",
    "# a comment\n",
    "Homepage:\n",
    "Homepage\n",
    "Homepage : x\n",
    "Homepage:x\n",
    ": x\n",
    "-x: y\n",
    "Status: install ok installed\n",
    "Conffiles: /x 0\n",
    "Filename: x\n",
    "Depends: \n",
    "Depends: a (>> \n",
    "Depends: a (1)\n",
    "Depends: a (> 1)\n",
    "Depends: a (!= 1)\n",
    "Depends: a (=1)|b(<<2)\n",
    "Depends: a,\n",
    "Depends: ,a\n",
    "Depends: a || b\n",
    "Depends: a (= 1) b\n",
    "Depends: a [amd64]\n",
    "Depends: a <!nocheck>\n",
    "Depends: a:\n",
    "Depends: a:b:c\n",
    "Depends: a (= )\n",
    "Depends: a (= 1:)\n",
    "Depends: a (= -1)\n",
    "Depends: a (= x)\n",
    "Depends: a (= 1 2)\n",
    "Depends: a\n\t(= 1)\n",
    "Depends: é\n",
    "Depends: ${misc:Depends}\n",
    "Provides: a | b\n",
    "Provides: a (>= 1)\n",
    "Conflicts: a | b\n",
    "Breaks: a | b\n",
    "Essential: maybe\n",
    "Protected: 1\n",
    "Important: x\n",
    "Multi-Arch: same\n",
    "Multi-Arch: weird\n",
    "Multi-Arch: Foreign\n",
    "Priority: none at all\n",
    "Installed-Size: x\n",
    "Installed-Size: -1\n",
    "Source: a b\n",
    "Source: a (1\n",
    "Source: (1)\n",
    "Source:\n",
    "Revision: 1\n",
    "Optional: a\n",
    "Recommended: a\n",
    "Config-Version: 1\n",
    "Triggers-Awaited: a\n",
    "X_Y: z\n",
    "X.Y: z\n",
    "Xé: z\n",
    "Xyz: é\r\n",
    "Version: 2\n",
    "Architecture: any\n",
    "Description: y\n",
];

fn control(choices: &mut Choices) -> Vec<u8> {
    let odd_name = ["hello", "Hello", "x", "libx+y-1.0", "-x", "h llo", "", "hé", "a_b", "_"];
    let odd_version =
        ["1", "1:2-3", "x", "1:", "", "1_2", "1 2", ":1", "1-", "-1", "99999999999:1", "1:1:1"];
    let mut text = format!("Package: {}\n", choices.one(&odd_name));
    text += &format!("Version: {}\n", choices.one(&odd_version));
    let architectures =
        ["all", "amd64", "amd64 i386", "", "any", "linux-any", "source", "é", "a_b"];
    text += &format!("Architecture: {}\n", choices.one(&architectures));
    text += choices.one(&[
        "Maintainer: A <a@example.org>\n",
        "",
        "Maintainer:\n",
        "Maintainer: A\n B\n",
    ]);
    for _ in 0..2 {
        text += choices.any(HONEST);
    }
    for _ in 0..2 {
        text += choices.one(ODD);
    }
    text += choices.one(&[
        "Description: x\n y\n .\n  z\n",
        "",
        "Description: x\n",
        "Description:\n x\n",
        "Description: x\n\t y\n",
    ]);
    let mut text = text.into_bytes();
    if choices.odd() {
        let at = choices.place(text.len());
        let all = [
            "\n", "\n\n", " ", "\t", "\r", "\r\n", ":", "#", "\0", "\x0b", "\x0c", "\u{85}",
            "\u{2028}", "\u{a0}", "A", "-",
        ];
        let new = choices.any(&all).as_bytes().to_vec();
        text.splice(at..at, new);
    }
    if choices.odd() {
        let end = choices.one(&[
            &b"\n"[..],
            b"",
            b"\n\n",
            b"\n \n",
            b"\nPackage: z\n",
            b"\xff\n",
            b"\0",
            b"x",
        ]);
        while text.last() == Some(&b'\n') {
            text.pop();
        }
        text.extend(end);
    }
    text
}

/// A file of a control archive.
fn entry(choices: &mut Choices, name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let names = [
        "",
        "control",
        "./control",
        "./control/",
        "././control",
        ".//control",
        "../control",
        "/control",
        "./CONTROL",
        "./x",
        ".",
        "./",
        "./.",
        "..",
        "./md5sums",
        "./control\n",
        "./control ",
        "./x/control",
        "./preinst",
        "./x/../control",
    ];
    let name = match choices.one(&names) {
        "" => name,
        other => other,
    };
    let mut header = [0; 512];
    let name = name.as_bytes();
    header[..name.len()].copy_from_slice(name);
    let number = |header: &mut [u8; 512], at: usize, length: usize, value: u64, form: u8| {
        let text = match form {
            0 => format!("{value:0width$o}\0", width = length - 1),
            1 => format!("{value:o} "),
            2 => format!("{value:>width$o}\0", width = length - 1),
            3 => format!("{value:0width$o}", width = length),
            4 => format!("-{value:o}\0"),
            5 => format!("+{value:o}\0"),
            6 => format!("0x{value:x}\0"),
            7 => format!("{value}\0"),
            8 => String::new(),
            9 => format!("{value:o}\0{value:o}9"),
            _ => {
                let mut bytes = vec![0; length];
                bytes[0] = if form == 10 { 0x80 } else { 0xff };
                bytes[length - 8..].copy_from_slice(&value.to_be_bytes());
                header[at..at + length].copy_from_slice(&bytes);
                return;
            }
        };
        let text = &text.as_bytes()[..text.len().min(length)];
        header[at..at + text.len()].copy_from_slice(text);
    };
    let forms: Vec<u8> = (0..12).collect();
    let mode = choices.one(&[0o644, 0o755, 0o4755, 0o444]);
    number(&mut header, 100, 8, mode, 0);
    number(&mut header, 108, 8, 0, choices.one(&forms));
    number(&mut header, 116, 8, 0, 0);
    let size = match choices.one(&[0u8, 1, 2, 3, 4, 5]) {
        0 => data.len() as u64,
        1 => data.len().saturating_sub(1) as u64,
        2 => data.len() as u64 + 1,
        3 => 512,
        4 => 1024,
        _ => 0,
    };
    number(&mut header, 124, 12, size, choices.one(&forms));
    number(&mut header, 136, 12, 0, choices.one(&forms));
    header[156] = match choices.one(b"\xff0157\x00xgLKSVMDANX\x012346z") {
        0xff => kind,
        other => other,
    };
    if (b'1'..=b'6').contains(&header[156]) && header[156] != b'5' {
        header[157..167].copy_from_slice(b"./md5sums\0");
    }
    let magic =
        choices.one(&[*b"ustar  \0", *b"ustar\x0000", [0; 8], *b"ustar\0\0\0", *b"USTAR\x0000"]);
    header[257..265].copy_from_slice(&magic);
    if choices.odd() {
        let prefix = choices.any(&["x", ".", "./", "..", "/", "control"]);
        header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    }
    let sum = |header: &[u8; 512], value: fn(u8) -> i64| -> i64 {
        header
            .iter()
            .enumerate()
            .map(|(n, c)| if (148..156).contains(&n) { 32 } else { value(*c) })
            .sum()
    };
    let form = choices.one(&[0u8, 1, 2, 3, 4, 5]);
    let value =
        if form == 4 { sum(&header, |c| i64::from(c as i8)) } else { sum(&header, i64::from) }
            + i64::from(form == 5);
    let text = match form {
        1 => format!("{value:o}\0 "),
        2 => format!("{value:07o}\0"),
        3 => format!("{value:>6o} \0"),
        _ => format!("{value:06o}\0 "),
    };
    header[148..156].fill(0);
    header[148..148 + text.len().min(8)].copy_from_slice(&text.as_bytes()[..text.len().min(8)]);
    let mut made = header.to_vec();
    made.extend(data);
    made.resize(made.len().next_multiple_of(512), choices.one(&[0, b'x']));
    made
}

fn tar(choices: &mut Choices) -> Vec<u8> {
    let text = control(choices);
    let mut other = text.clone();
    other.splice(..0, *b"Bugs: x\n");
    let mut tar = entry(choices, "./", b'5', b"");
    if choices.any(&[false, true]) {
        tar.extend(entry(choices, "./md5sums", b'0', b"0123  x\n"));
    }
    if choices.odd() {
        let kind = choices.one(b"05x");
        let data = choices.any(&[&other[..], b"", &[0; 512], b"30 path=./control\n"]);
        tar.extend(entry(choices, "./x", kind, data));
    }
    tar.extend(entry(choices, "./control", b'0', &text));
    if choices.odd() {
        tar.extend(entry(choices, "./y", b'0', &other));
    }
    let zeros = choices.one(&[1024, 0, 512, 1536, 1 << 14, 700, 100]);
    tar.resize(tar.len() + zeros, 0);
    if choices.any(&[true, false]) {
        tar.resize(tar.len().next_multiple_of(10240), 0);
    }
    if choices.odd() {
        tar.extend(entry(choices, "./control", b'0', &other));
    }
    mutated(choices, tar)
}

/// Some bytes of it changed, or its end gone.
fn mutated(choices: &mut Choices, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..2 {
        if choices.odd() && !bytes.is_empty() {
            let at = choices.place(bytes.len() - 1);
            bytes[at] = choices.any(&[0, b' ', b'/', b'.', b'0', b'5', b'\n', 0x80, 0xff]);
        }
    }
    if choices.odd() {
        bytes.truncate(choices.place(bytes.len()));
    }
    bytes
}

fn compressed(choices: &mut Choices, way: &str, data: &[u8]) -> Vec<u8> {
    let part = |data: &[u8]| match way {
        "" => data.to_vec(),
        ".gz" => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(data).unwrap();
            gz.finish().unwrap()
        }
        ".zst" => zstd::encode_all(data, 1).unwrap(),
        _ => {
            let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
            xz.write_all(data).unwrap();
            xz.finish().unwrap()
        }
    };
    let mut made = if choices.odd() {
        let at = choices.place(data.len());
        let middle =
            choices.any(&[&b""[..], b"", b"\0\0\0\0", b"x", b"\x50\x2a\x4d\x18\x02\0\0\0xx"]);
        [&part(&data[..at]), middle, &part(&data[at..])].concat()
    } else {
        part(data)
    };
    made.extend(choices.one(&[
        &b""[..],
        b"\0",
        b"\0\0\0\0",
        b"x",
        b"\x1f\x8b",
        b"\x50\x2a\x4d\x18\x02\0\0\0xx",
    ]));
    mutated(choices, made)
}

fn member(choices: &mut Choices, name: &str, data: &[u8]) -> Vec<u8> {
    let name = match choices.one(&["", "/", " /", "x", "\0"]) {
        "" => name.to_owned(),
        more => format!("{name}{more}"),
    };
    let length = data.len();
    let size = match choices.one(&[0u8, 1, 2, 3, 4, 5, 6, 7, 8]) {
        0 => length.to_string(),
        1 => format!("+{length}"),
        2 => format!("0{length}"),
        3 => format!(" {length}"),
        4 => format!("{length}\0"),
        5 => format!("{length} 1"),
        6 => (length + 1).to_string(),
        7 => length.saturating_sub(1).to_string(),
        _ => String::new(),
    };
    let rest = choices.one(&[
        "0           0     0     100644  ",
        "                                ",
        "x           x     x     x       ",
    ]);
    let mut made = format!("{name:<16.16}{rest}{size:<10.10}").into_bytes();
    made.extend(choices.one(&[b"`\n", b"\n`", b"  "]));
    made.extend(data);
    if length % 2 == 1 {
        made.extend(choices.one(&[&b"\n"[..], b"\0", b"x", b""]));
    }
    made
}

/// A whole package.
pub fn package(choices: &mut Choices) -> Vec<u8> {
    let inner = tar(choices);
    let way = choices.any(&[".xz", ".gz", ".zst", ""]);
    let named =
        match choices.one(&["as it is", ".xz", ".gz", ".zst", "", ".bz2", ".lzma", ".Z", "x"]) {
            "as it is" => way,
            other => other,
        };
    let control = compressed(choices, way, &inner);
    let first = choices.one(&[
        &b"2.0\n"[..],
        b"2.0",
        b"2.1\n",
        b"2.0\nx\n",
        b"3.0\n",
        b"2.0 \n",
        b"0.939000\n",
        b"",
    ]);
    let data = vec![0; 10240];
    let data_way = choices.any(&[".xz", ".gz", ".zst", ""]);
    let data_named =
        match choices.one(&["as it is", ".xz", ".gz", ".zst", "", ".bz2", ".lzma", ".Z", "x"]) {
            "as it is" => data_way,
            other => other,
        };
    let before = std::mem::replace(&mut choices.honest, data_named == data_way);
    let data = compressed(choices, data_way, &data);
    let data = member(choices, &format!("data.tar{data_named}"), &data);
    choices.data_is_whole = choices.honest;
    choices.honest &= before;
    let mut members = vec![
        member(choices, "debian-binary", first),
        member(choices, &format!("control.tar{named}"), &control),
        data,
    ];
    match choices.one(&[0u8, 1, 2, 3, 4, 5, 6]) {
        0 => {}
        1 => members.swap(1, 2),
        2 => members.push(member(choices, "_x", b"x")),
        3 => members.insert(1, member(choices, "_x", b"xx")),
        4 => members.push(member(choices, "control.tar.gz", &control)),
        5 => drop(members.pop()),
        _ => members.insert(2, member(choices, &format!("control.tar{named}"), &control)),
    }
    let magic = choices.one(&[&b"!<arch>\n"[..], b"!<arch> ", b"!<thin>\n"]);
    let before = std::mem::replace(&mut choices.honest, true);
    let made = mutated(choices, [magic, &members.concat()].concat());
    choices.data_is_whole &= choices.honest;
    choices.honest &= before;
    made
}

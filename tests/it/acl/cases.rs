//! ACLs made by hand: each scheme, and each way of writing a file that remctld has an opinion about.

use std::fs;
use std::os::unix::fs::symlink;

/// Where the files are.
pub const FILES: &str = "/run/world/acls";

/// Files that the cases name, as bytes: some are no text.
const TEXTS: &[(&str, &[u8])] = &[
    ("plain", b"# people\n  alice@EXAMPLE.ORG  \nbob@EXAMPLE.ORG\n"),
    ("denies", b"deny:princ:bob@EXAMPLE.ORG\nanyuser:auth\n"),
    ("includes", b"include /run/world/acls/denies\nmallory@EXAMPLE.ORG\n"),
    ("bad-late", b"alice@EXAMPLE.ORG\nnonsense:x\n"),
    ("bad-early", b"nonsense:x\nalice@EXAMPLE.ORG\n"),
    ("two-words", b"alice@EXAMPLE.ORG bob@EXAMPLE.ORG\n"),
    ("regex", b"regex:^(alice|bob)@EXAMPLE\\.ORG$\n"),
    ("pcre", b"pcre:^(?!alice)\n"),
    ("empty", b"# nobody\n\n"),
    ("nothing", b""),
    ("include-missing", b"include /run/world/acls/missing\nalice@EXAMPLE.ORG\n"),
    ("itself", b"include /run/world/acls/itself\nalice@EXAMPLE.ORG\n"),
    ("crlf", b"# people\r\nalice@EXAMPLE.ORG\r\ninclude /run/world/acls/denies\r\n"),
    ("tabs", b"\talice@EXAMPLE.ORG\t\n"),
    ("inner-tab", b"alice@EXAMPLE.ORG\tbob@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
    ("include-tab", b"include\t/run/world/acls/plain\nbob@EXAMPLE.ORG\n"),
    ("include-tabs", b"include \t /run/world/acls/plain \t\n"),
    ("include-three", b"include /run/world/acls/plain /run/world/acls/denies\nbob@EXAMPLE.ORG\n"),
    ("include-upper", b"INCLUDE /run/world/acls/plain\nbob@EXAMPLE.ORG\n"),
    ("include-princ", b"include princ:alice@EXAMPLE.ORG\n"),
    ("include-deny", b"include deny:princ:alice@EXAMPLE.ORG\nanyuser:auth\n"),
    ("include-deny-bare", b"include deny:alice@EXAMPLE.ORG\nanyuser:auth\n"),
    ("include-anyuser", b"include ANYUSER\n"),
    ("include-dir", b"include /run/world/acls/dir\n"),
    ("formfeed", b"\x0calice@EXAMPLE.ORG\x0c\n\x0bbob@EXAMPLE.ORG\x0b\n"),
    ("formfeed-include", b"\x0cinclude /run/world/acls/plain\n"),
    ("no-newline", b"bob@EXAMPLE.ORG\nalice@EXAMPLE.ORG"),
    ("comment-late", b"alice@EXAMPLE.ORG # this is no comment\n"),
    ("comment-indented", b"   # alice@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
    ("comment-tight", b"alice@EXAMPLE.ORG#\nbob@EXAMPLE.ORG\n"),
    ("continued", b"alice@EXAMPLE.ORG\\\nbob@EXAMPLE.ORG\n"),
    ("nul", b"alice@EXAMPLE.ORG\0 rubbish here\nbob@EXAMPLE.ORG\n"),
    ("nul-first", b"\0alice@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
    ("latin1", b"# M\xfcller\nm\xfcller@EXAMPLE.ORG\nalice@EXAMPLE.ORG\n"),
    ("latin1-regex", b"regex:^\xfc\nalice@EXAMPLE.ORG\n"),
    ("utf8", "# Müller\nmüller@EXAMPLE.ORG\nalice@EXAMPLE.ORG\n".as_bytes()),
    ("bom", b"\xef\xbb\xbfalice@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
    ("quotes", b"\"alice@EXAMPLE.ORG\"\nbob@EXAMPLE.ORG\n"),
    ("spaces-only", b"   \n \t \nalice@EXAMPLE.ORG\n"),
    ("bare-path", b"/run/world/acls/plain\n"),
    ("file-path", b"file:/run/world/acls/plain\n"),
    ("deny-path", b"deny:/run/world/acls/plain\nanyuser:auth\n"),
    ("deny-file", b"deny:file:/run/world/acls/plain\nanyuser:auth\n"),
    ("anyuser", b"ANYUSER\n"),
    ("anyuser-lower", b"anyuser\nbob@EXAMPLE.ORG\n"),
    ("anonymous", b"anyuser:anonymous\n"),
    ("not-anonymous", b"deny:princ:WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS\nanyuser:anonymous\n"),
    ("bare-anonymous", b"WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS\nalice@EXAMPLE.ORG\n"),
    ("exec", b"exec:/bin/true\nanyuser:auth\n"),
    ("system", b"system:xvm-root\nanyuser:auth\n"),
    ("gput", b"gput:group\nanyuser:auth\n"),
    ("groups", b"localgroup:ib-staff\n"),
    ("dir/one", b"alice@EXAMPLE.ORG\n"),
    ("dir/two", b"deny:princ:bob@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
    ("dir/ignored.txt", b"mallory@EXAMPLE.ORG\n"),
    ("dir/ignored~", b"nonsense:x\n"),
    ("dir/#ignored", b"nonsense:x\n"),
    ("dir/.ignored", b"nonsense:x\n"),
    ("dir/sub/three", b"mallory@EXAMPLE.ORG\n"),
    ("dir-error/a", b"anyuser:auth\n"),
    ("dir-error/b", b"nonsense:x\n"),
    ("dir-denies/A-1", b"anyuser:auth\n"),
    ("dir-denies/B_2", b"deny:anyuser:auth\n"),
    ("dir-includes/x", b"include /run/world/acls/dir\n"),
    ("dir-link/x", b"bob@EXAMPLE.ORG\n"),
    ("dir-nothing/y.acl", b"anyuser:auth\n"),
];

/// Files that include each other: remctld dies of it.
const LOOPS: &[(&str, &[u8])] = &[
    ("loop-a", b"include /run/world/acls/loop-b\nalice@EXAMPLE.ORG\n"),
    ("loop-b", b"file:/run/world/acls/loop-a\nalice@EXAMPLE.ORG\n"),
    ("loop-alias", b"include /run/world/acls/./loop-alias\nalice@EXAMPLE.ORG\n"),
    ("loop-dir/x", b"include /run/world/acls/loop-dir\nalice@EXAMPLE.ORG\n"),
];

/// ACLs that end in such a loop.
pub const LOOPING: [&str; 3] =
    ["file:/run/world/acls/loop-a", "file:/run/world/acls/loop-alias", "file:/run/world/acls/loop-dir"];

/// Writes all of them.
pub fn write_files() {
    let _ = fs::remove_dir_all(FILES);
    for (name, text) in TEXTS.iter().chain(LOOPS) {
        let path = format!("{FILES}/{name}");
        fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for length in [8188, 8189, 8190, 8191, 8192, 20_000] {
        let text = [&vec![b'#'; length][..], b"\nalice@EXAMPLE.ORG\n"].concat();
        fs::write(format!("{FILES}/long-{length}"), text).unwrap();
        let text = [&b"bob@EXAMPLE.ORG\0"[..], &vec![b'x'; length][..], b"\nalice@EXAMPLE.ORG\n"].concat();
        fs::write(format!("{FILES}/long-nul-{length}"), text).unwrap();
        fs::write(format!("{FILES}/long-last-{length}"), [b"alice@EXAMPLE.ORG", &vec![b' '; length][..]].concat()).unwrap();
    }
    symlink("/nonexistent", format!("{FILES}/dangling")).unwrap();
    symlink(format!("{FILES}/plain"), format!("{FILES}/link")).unwrap();
    fs::create_dir(format!("{FILES}/dir-dangling")).unwrap();
    symlink("/nonexistent", format!("{FILES}/dir-dangling/x")).unwrap();
    symlink(format!("{FILES}/plain"), format!("{FILES}/dir-link/link")).unwrap();
    fs::create_dir(format!("{FILES}/dir-empty")).unwrap();
}

/// Every list of entries that is tried.
pub fn lists() -> Vec<Vec<String>> {
    let mut lists: Vec<Vec<String>> = ENTRIES.iter().map(|list| list.iter().map(|entry| (*entry).to_owned()).collect()).collect();
    let one = |entry: String| vec![entry];
    let then = |entry: &str| vec![entry.to_owned(), "princ:mallory@EXAMPLE.ORG".to_owned()];
    let names = fs::read_dir(FILES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("loop-")).collect();
    names.sort();
    for name in names {
        let entry = format!("file:{FILES}/{name}");
        lists.extend([then(&entry), one(format!("{FILES}/{name}")), vec![format!("deny:{entry}"), "anyuser:auth".to_owned()]]);
    }
    for pattern in POSIX {
        lists.extend([then(&format!("regex:{pattern}")), vec![format!("deny:regex:{pattern}"), "anyuser:anonymous".to_owned()]]);
    }
    for pattern in PCRE {
        lists.extend([then(&format!("pcre:{pattern}")), vec![format!("deny:pcre:{pattern}"), "anyuser:anonymous".to_owned()]]);
    }
    lists
}

const ENTRIES: &[&[&str]] = &[
    &["princ:alice@EXAMPLE.ORG"],
    &["princ:alice"],
    &["princ:"],
    &["princ:ALICE@EXAMPLE.ORG"],
    &["princ:alice@EXAMPLE.ORG@EXAMPLE.ORG"],
    &["princ:princ:alice@EXAMPLE.ORG", "princ:bob@EXAMPLE.ORG"],
    &["princ:alice\\@EXAMPLE.ORG"],
    &["princ:WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"],
    &["princ:WELLKNOWN/ANONYMOUS@EXAMPLE.ORG"],
    &["alice@EXAMPLE.ORG", "anyuser:auth"],
    &["ANYUSER"],
    &["AnyUser"],
    &["anyuser"],
    &["anyuser:auth"],
    &["anyuser:anonymous"],
    &["anyuser:ANYUSER", "anyuser:auth"],
    &["anyuser:nobody"],
    &["anyuser:", "anyuser:auth"],
    &["ANYUSER:auth", "anyuser:auth"],
    &["princ:bob@EXAMPLE.ORG", "anyuser:auth"],
    &["deny:princ:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["anyuser:auth", "deny:princ:alice@EXAMPLE.ORG"],
    &["deny:deny:princ:alice@EXAMPLE.ORG", "princ:bob@EXAMPLE.ORG"],
    &["deny:deny:deny:princ:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["deny:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["deny:", "anyuser:auth"],
    &["deny::", "anyuser:auth"],
    &["deny:ANYUSER", "anyuser:auth"],
    &["deny:anyuser:anonymous", "anyuser:anonymous"],
    &["deny:nonsense:x", "anyuser:auth"],
    &["deny:file:/run/world/acls/plain", "anyuser:auth"],
    &["deny:/run/world/acls/plain", "anyuser:auth"],
    &["deny:file:/run/world/acls/missing", "anyuser:auth"],
    &["deny:file:/run/world/acls/denies", "anyuser:auth"],
    &["Deny:princ:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["unknown:alice", "anyuser:auth"],
    &["princ:bob@EXAMPLE.ORG", "unknown:alice"],
    &["PRINC:alice@EXAMPLE.ORG", "anyuser:auth"],
    &[":alice@EXAMPLE.ORG", "anyuser:auth"],
    &[":", "anyuser:auth"],
    &["gput:x", "anyuser:auth"],
    &["deny:gput:x", "anyuser:auth"],
    &["unxgrp:x", "anyuser:auth"],
    &["/run/world/acls/plain"],
    &["file:/run/world/acls/missing", "anyuser:auth"],
    &["file:", "anyuser:auth"],
    &["file:run/world/acls/plain", "anyuser:auth"],
    &["file:/run/world/acls//plain"],
    &["file:/run/world/acls/dir/"],
    &["file:/run/world/acls/plain/", "anyuser:auth"],
    &["file:/run/world/acls/bad-early", "anyuser:auth"],
    &["file:/run/world/acls/two-words", "anyuser:auth"],
    &["file:/run/world/acls/dir-error", "anyuser:auth"],
    &["file:/run/world/acls/dir-dangling", "anyuser:auth"],
    &["file:/run/world/acls/dir", "princ:mallory@EXAMPLE.ORG"],
    &["include", "anyuser:auth"],
    &["localgroup:ib-staff"],
    &["localgroup:ib-alice"],
    &["localgroup:ib-nobody"],
    &["localgroup:no-such-group", "princ:alice@EXAMPLE.ORG"],
    &["localgroup:", "princ:alice@EXAMPLE.ORG"],
    &["localgroup:IB-STAFF", "princ:alice@EXAMPLE.ORG"],
    &["localgroup:0", "princ:alice@EXAMPLE.ORG"],
    &["deny:localgroup:ib-staff", "anyuser:auth"],
    &["deny:localgroup:no-such-group", "anyuser:auth"],
    &["LocalGroup:ib-staff", "anyuser:auth"],
];

/// As regcomp(3) takes or refuses them; the extensions of the GNU C library among them.
const POSIX: &[&str] = &[
    "", "^", "$", "^$", ".", "alice", "ALICE", "^alice@EXAMPLE\\.ORG$", "^alice", "alice$", "ORG$", "^(alice|bob)@", "(alice|bob",
    "alice)", "()", "(|alice)", "alice|", "|bob", "||", "[ab]", "[^ab]lice", "[a-c]lice", "[c-a]", "[", "]", "[]]", "[]a]lice", "[^]]",
    "[[:alpha:]]+@", "[[:ALPHA:]]", "[[:nonsense:]]", "[:alpha:]", "[[.a.]]lice", "[[=a=]]lice", "[[.nonsense.]]", "a*", "*", "*a", "^*",
    "a**", "a+", "+a", "a?", "?", "(*a)", "(+)", "a{1}", "a{1,2}lice", "l{0}i", "a{2,1}", "a{", "a{x}", "a{1", "{1}", "a{1,}", "a{,1}lice",
    "a{32768}", "a{255}", "\\", "\\\\", "\\a", "\\.", "\\(alice\\)", "a\\{1\\}", "(l)\\1", "(.)\\1", "(b)ob@\\1", "(b)o\\1@", "\\2", "\\w+@", "\\W",
    "\\balice\\b", "\\<bob\\>", "\\d", "\\s", "\\`alice", "ORG\\'", "a.i.e", "a\\|b", "a(li)*ce", "((a)(l)(i)(c)(e))", "^.{5}@", "^.{3}@", "[.]ORG",
    "[\\.]ORG", "[a\\]]", "@EXAMPLE", "WELLKNOWN", "^WELLKNOWN/", ":ANONYMOUS$", "[[:upper:]]{9}/", "(?i)ALICE", "^[^/]+@", "#", "%", "a||b",
    "(alice|bob)@(EXAMPLE|OTHER)\\.ORG", "x*$", "^x*", "\\xfc",
];

/// As PCRE2 takes or refuses them.
const PCRE: &[&str] = &[
    "", "^", "$", "^$", ".", "alice", "(?i)ALICE", "^(?!alice)", "^(?=bob)", "(?<=a)lice", "(?<!a)lice", "(?<=a*)b", "^(alice|bob)@", "(alice|bob",
    "alice)", "()", "(l)\\1", "(?<x>b)ob", "(?<x>b)o\\k<x>@", "(?P<x>b)o(?P=x)@", "(?<x>a)(?<x>b)", "\\d", "\\D", "\\w+@", "\\W", "\\s", "\\bbob\\b", "\\Aalice",
    "ORG\\z", "ORG\\Z", "\\Qalice@EXAMPLE.ORG\\E", "\\Q", "[", "]", "[]a]lice", "[[:alpha:]]+@", "[[:nonsense:]]", "a**", "a*+", "*", "+", "a{1}", "a{2,1}", "a{",
    "a{1,2}+lice", "a{,1}lice", "a{65536}", "\\", "\\\\", "\\x61lice", "\\x{61}lice", "\\x{100}", "\\N{U+61}", "\\p{L}", "\\p{Nonsense}", "\\X", "\\R", "\\K", "\\1", "\\g{1}",
    "(?R)", "(?1)", "(a)(?1)", "(?<n>a)(?&n)?lice", "(?(1)a|b)", "(?>alice)", "(?|(a)|(b))", "(?#comment)alice", "(?x)a#b", "(?n)(a)", "(?-n)(l)\\1", "(?-n)(b)o\\1@", "(?^)alice",
    "(*UTF)alice", "(*UCP)\\w", "(*UTF)(*UCP)^\\w+@", "(*NONSENSE)a", "(*COMMIT)bob", "a(*FAIL)", "(*ACCEPT)", "(*MARK:x)alice", "(*ANYCRLF)^alice", "(*LIMIT_MATCH=1)lice",
    "(*LIMIT_MATCH=10000)lice", "(*CR)alice$", "(*pla:alice)", "(*atomic:bob)", "(*positive_lookahead:b)", "(*", "(*)", "(?", "(?<", "(?<>a)", "(?P", "\\c", "\\cA", "\\o{141}lice", "[a-\\d]", "(?C)alice",
    "(?i:ALICE)@", "alice(?!@EXAMPLE)", "^(?:(?:a|al)+)+$", "(a+)+$", "\\C", "\\u0061", "\\E", "a|", "|", "#",
];

//! Our decisions against those of a real remctld, over the same ACL entries and files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

mod cases;
mod generated;

use crate::world::{Answer, CONFIG, Remctld, World, run};
use invirtibuilder_core::config::{self, Config};
use invirtibuilder_core::names::Principal;

/// Who is tried: the name of a ticket, and its principal.
const PEOPLE: [(&str, &str); 4] = [
    ("alice", "alice@EXAMPLE.ORG"),
    ("bob", "bob@EXAMPLE.ORG"),
    ("mallory", "mallory@EXAMPLE.ORG"),
    ("anonymous", "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"),
];

/// What krb5.conf maps to local users: mallory becomes nobody, the others themselves.
const MAPPING: &str =
    "  auth_to_local = RULE:[1:$1](^mallory$)s/^.*$/no-such-user/\n  auth_to_local = DEFAULT\n";

/// A remctld with one command a case.
struct Reference(Remctld);

impl Reference {
    fn start(lists: &[Vec<String>]) -> Self {
        let lines: String = lists
            .iter()
            .enumerate()
            .map(|(n, list)| format!("acl case{n} /bin/true {}\n", list.join(" ")))
            .collect();
        Self(Remctld::start("acl", &lines, "022"))
    }

    fn ask(&self, ticket: &str, case: usize) -> Answer {
        self.0.ask(ticket, &["acl", &format!("case{case}")])
    }

    fn admits(&self, ticket: &str, case: usize) -> bool {
        let answer = self.ask(ticket, case);
        assert!(answer.code == 0 || answer.err.contains("denied"), "{answer:?}");
        answer.code == 0
    }
}

/// One pocket a case, read from a file as the service reads it.
fn configure(lists: &[Vec<String>]) -> Config {
    let pockets: BTreeMap<String, serde_json::Value> = lists
        .iter()
        .enumerate()
        .map(|(n, list)| {
            (format!("case{n}"), serde_json::json!({ "acl": list, "distro": "bookworm" }))
        })
        .collect();
    // JSON is YAML.
    let text =
        serde_json::json!({ "realm": "EXAMPLE.ORG", "build": { "pockets": pockets } }).to_string();
    fs::write(CONFIG, text).unwrap();
    config::load(Path::new(CONFIG)).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn we_admit(config: &Config, who: &str, case: usize) -> (bool, String) {
    let who = Principal::from_authenticated(who).unwrap();
    let explained =
        invirtibuilder_access::acl::explain(config, &format!("case{case}").parse().unwrap(), &who);
    (explained.admitted, explained.to_string())
}

/// Compares every case for everybody; how many there were, and how many of them admitted.
fn compare(people: &[(&str, &str)], lists: &[Vec<String>]) -> (usize, usize) {
    let reference = Reference::start(lists);
    let config = configure(lists);
    let (mut wrong, mut asked, mut admitted) = (Vec::new(), 0, 0);
    for (case, list) in lists.iter().enumerate() {
        for (ticket, who) in people {
            let theirs = reference.admits(ticket, case);
            let (ours, why) = we_admit(&config, who, case);
            (asked, admitted) = (asked + 1, admitted + usize::from(ours));
            if ours != theirs {
                wrong.push(format!(
                    "{who} by {list:?}: remctld says {theirs}, we say {ours}: {why}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    (asked, admitted)
}

/// Local users for `localgroup:`, and an anonymous ticket.
fn people() {
    for command in [
        "getent group ib-staff || groupadd ib-staff",
        "getent group ib-nobody || groupadd ib-nobody",
        "getent passwd alice || useradd --no-create-home --user-group --groups ib-staff alice",
        "getent group ib-alice || groupadd ib-alice",
        "usermod --gid ib-alice alice",
        "getent passwd bob || useradd --no-create-home --gid ib-staff bob",
        "kinit -n -c /run/world/tickets/anonymous @EXAMPLE.ORG",
    ] {
        run("sh", &["-c", command]);
    }
}

/// krb5.conf with these lines for the realm, until it is dropped.
struct Mapped(String);

impl Mapped {
    fn with(lines: &str) -> Self {
        let before = fs::read_to_string("/etc/krb5.conf").unwrap();
        fs::write(
            "/etc/krb5.conf",
            before.replace("EXAMPLE.ORG = {\n", &format!("EXAMPLE.ORG = {{\n{lines}")),
        )
        .unwrap();
        Self(before)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        fs::write("/etc/krb5.conf", &self.0).unwrap();
    }
}

#[test]
fn acl_decisions_made_by_hand_are_those_of_remctld() {
    let _world = World::new();
    people();
    let _mapped = Mapped::with(MAPPING);
    cases::write_files();
    let (asked, admitted) = compare(&PEOPLE, &cases::lists());
    eprintln!("{asked} decisions are the same, {admitted} of them admit");
    assert!(asked > 2000 && admitted > 300, "{asked} {admitted}");
}

#[test]
fn acl_decisions_made_by_chance_are_those_of_remctld() {
    let _world = World::new();
    people();
    let _mapped = Mapped::with(MAPPING);
    cases::write_files();
    let seed =
        std::env::var("IB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    eprintln!("IB_SEED={seed}");
    let (asked, admitted) = compare(&PEOPLE, &generated::make(&mut generated::Chance::new(seed)));
    eprintln!("{asked} decisions are the same, {admitted} of them admit");
    assert!(asked > 1000 && admitted > 200, "{asked} {admitted}");
}

/// A rule that libkrb5 cannot read is an error to both, also under `deny:`.
#[test]
fn acl_errors_of_auth_to_local_are_those_of_remctld() {
    let _world = World::new();
    people();
    let _mapped = Mapped::with("  auth_to_local = RULE:[1:$1(nonsense\n");
    cases::write_files();
    let lists = [
        &["localgroup:ib-staff", "anyuser:anonymous"][..],
        &["deny:localgroup:ib-staff", "anyuser:anonymous"],
    ];
    compare(&PEOPLE, &lists.map(|list| list.iter().map(|entry| (*entry).to_owned()).collect()));
}

/// Names that Kerberos takes, and ACL files cannot hold or hold in their own way: tickets, and
/// what is before the realm.
const ODD: [(&str, &str); 5] = [
    ("spaced", "dave smith"),
    ("hashed", "#dave"),
    ("quoted", "o\"neil"),
    ("colon", "svc:dave"),
    ("umlaut", "müller"),
];

#[test]
fn acl_decisions_about_odd_names_are_those_of_remctld() {
    let world = World::new();
    let keytab = format!("{}/odd-keytab", tempfile::tempdir().unwrap().keep().display());
    for (ticket, name) in ODD {
        let quoted = name.replace('"', "\"\"");
        for query in [
            format!("addprinc -clearpolicy -randkey \"{quoted}\""),
            format!("ktadd -norandkey -k {keytab} \"{quoted}\""),
        ] {
            run("kadmin.local", &["-p", "root/admin@EXAMPLE.ORG", "-q", &query]);
        }
        run("kinit", &["-k", "-t", &keytab, "-c", &format!("/run/world/tickets/{ticket}"), name]);
        world.build(ticket, &["whoami"]).ok().says(&[&format!("{name}@EXAMPLE.ORG")]);
    }
    cases::write_files();
    for (name, text) in [
        ("spaced", "dave smith@EXAMPLE.ORG\nanyuser:auth\n"),
        ("hashed", "#dave@EXAMPLE.ORG\n"),
        ("hashed-princ", "princ:#dave@EXAMPLE.ORG\n"),
        ("quoted", "o\"neil@EXAMPLE.ORG\n"),
        ("colon", "svc:dave@EXAMPLE.ORG\nanyuser:auth\n"),
        ("colon-princ", "princ:svc:dave@EXAMPLE.ORG\n"),
        ("umlaut", "müller@EXAMPLE.ORG\n"),
    ] {
        fs::write(format!("{}/odd-{name}", cases::FILES), text).unwrap();
    }
    let entries = [
        "anyuser:auth",
        "regex:^dave.smith@EXAMPLE",
        "pcre:^dave\\x20smith@",
        "regex:^[a-z:]+@",
        "princ:#dave@EXAMPLE.ORG",
        "princ:o\"neil@EXAMPLE.ORG",
        "princ:svc:dave@EXAMPLE.ORG",
        "princ:müller@EXAMPLE.ORG",
        "file:/run/world/acls/odd-spaced",
        "file:/run/world/acls/odd-hashed",
        "file:/run/world/acls/odd-hashed-princ",
        "file:/run/world/acls/odd-quoted",
        "file:/run/world/acls/odd-colon",
        "file:/run/world/acls/odd-colon-princ",
        "file:/run/world/acls/odd-umlaut",
        "localgroup:ib-staff",
    ];
    let both = |entry: &str| {
        [vec![entry.to_owned()], vec![format!("deny:{entry}"), "anyuser:auth".to_owned()]]
    };
    let lists: Vec<_> = entries.into_iter().flat_map(both).collect();
    let people = ODD.map(|(ticket, name)| (ticket, format!("{name}@EXAMPLE.ORG")));
    let people = people.each_ref().map(|(ticket, name)| (*ticket, &name[..]));
    let (asked, admitted) = compare(&people, &lists);
    assert!(asked == 160 && admitted > 60, "{asked} {admitted}");
}

/// remctld's own guard is against a file that includes itself under the same path. What comes back
/// to itself in another way ends its session, so that is tried with ours alone, beside the code.
#[test]
fn acl_files_that_include_themselves_are_errors_to_both() {
    let _world = World::new();
    cases::write_files();
    let lists = ["itself", "alias"]
        .map(|name| vec![format!("file:{}/{name}", cases::FILES), "anyuser:auth".into()]);
    assert_eq!(compare(&PEOPLE, &lists).1, 0);
}

/// The same through the whole service: the pocket is there and the package is not, so 65 is for
/// those who are let in.
#[test]
fn acl_decisions_hold_over_remctl() {
    let world = World::new();
    people();
    cases::write_files();
    let lists: Vec<Vec<String>> = [
        &["princ:alice@EXAMPLE.ORG"][..],
        &["deny:princ:bob@EXAMPLE.ORG", "anyuser:auth"],
        &["anyuser:anonymous"],
        &["regex:^(alice|mallory)@"],
        &["file:/run/world/acls/includes"],
        &["file:/run/world/acls/bad-early", "anyuser:auth"],
    ]
    .map(|list| list.iter().map(|entry| (*entry).to_owned()).collect())
    .into();
    let reference = Reference::start(&lists);
    configure(&lists);
    for (case, list) in lists.iter().enumerate() {
        for (ticket, _) in &PEOPLE[..3] {
            let answer = world.build(ticket, &["submit", &format!("case{case}"), "absent", "main"]);
            let ours = match answer.code {
                65 => true,
                77 => false,
                _ => panic!("{answer:?}"),
            };
            assert_eq!(ours, reference.admits(ticket, case), "{ticket} by {list:?}");
        }
    }
}

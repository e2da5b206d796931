//! The pages themselves.

use clap::Command;
use roff::{Roff, bold, italic, roman};

use crate::manual::{
    argument, arguments, call, item, keys, leaves, marked, page, section, verbatim,
};

const BUGS: &str = "Every error is one sentence on standard error that names the thing at fault and what to do about it.";

/// `invirt-build(1)`.
pub fn verbs(command: &Command) -> String {
    let mut roff =
        page("invirt-build", "1", "submit Debian packages from Git to the build service");
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("remctl "), italic("SERVER"), bold(" build "), italic("VERB"), roman(" ...")]);
    roff.control("br", []);
    roff.text([bold("invirt-build "), italic("VERB"), roman(" ...")]);
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`invirt-build` is the command of the Invirtibuilder service. Developers reach it through remctl(1), which \
             proves who they are to Kerberos; administrators type it in a shell on the server, as root or as the \
             service's own user. A `submit` brings one commit of a package into a pocket: invirtibuilderd(8) makes the \
             source package from exactly that commit, builds it in isolation, and publishes it in the APT archive and \
             in Git.",
            "A pocket is a thread of development, such as `prod` or `dev`: one access control list, one Git branch, \
             one APT suite, one set of rules. A request that is refused or not valid changes nothing.",
        ],
    );
    roff.control("SH", ["VERBS"]);
    let mut found = Vec::new();
    leaves(command, "", &mut found);
    for (name, verb) in &found {
        roff.control("TP", []);
        roff.text(call(name, verb));
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        roff.text(marked(&format!("{}.", about.trim_end_matches('.'))));
        if arguments(verb).next().is_some() {
            roff.control("RS", []);
            arguments(verb).for_each(|arg| argument(&mut roff, arg));
            roff.control("RE", []);
        }
    }
    roff.control("SH", ["OPTIONS"]);
    item(&mut roff, vec![bold("--json")], "Print JSON: every verb that prints data can.");
    item(
        &mut roff,
        vec![bold("--config "), italic("FILE")],
        "Read another configuration; on the server only.",
    );
    item(&mut roff, vec![bold("--version")], "Print the version.");
    exit_status(&mut roff);
    roff.control("SH", ["ENVIRONMENT"]);
    item(
        &mut roff,
        vec![bold("REMOTE_USER")],
        "The principal, as remctld(8) sets it; over ssh, sshd(8) says it.",
    );
    item(
        &mut roff,
        vec![bold("INVIRTIBUILDER_CONFIG")],
        "The configuration file, unless `--config` names one.",
    );
    files(&mut roff);
    roff.control("SH", ["EXAMPLES"]);
    for (text, example) in [
        ("Create a repository, push to it, and submit a commit to the pocket prod:", CREATE),
        ("See what would happen, and why; follow a job; bring to prod what dev has:", FOLLOW),
        ("On the server, set the service up, and see what is still missing:", SET_UP),
    ] {
        roff.control("PP", []);
        roff.text([roman(text)]);
        verbatim(&mut roff, example);
    }
    see_also(&mut roff, "remctl(1), invirtibuilder.yaml(5), invirtibuilderd(8), remctld(8)");
    roff.render()
}

const CREATE: &str = "remctl build.example.org build create-repo hello
git push build.example.org:/srv/git/packages/hello.git main
remctl build.example.org build submit prod hello 3f2a91c --wait";

const FOLLOW: &str = "remctl build.example.org build submit prod hello main --dry-run
remctl build.example.org build log 42 --follow
remctl build.example.org build promote hello dev prod";

const SET_UP: &str = "invirt-build init --distro trixie
invirt-build init --check";

/// Writes how a program is called that has one option.
fn synopsis(roff: &mut Roff, name: &str) {
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold(name), roman(" ["), bold("--config "), italic("FILE"), roman("]")]);
}

/// `invirtibuilderd(8)`.
pub fn daemon(command: &Command) -> String {
    let mut roff = page("invirtibuilderd", "8", "build what was submitted, and publish it");
    synopsis(&mut roff, "invirtibuilderd");
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`invirtibuilderd` claims the jobs that invirt-build(1) has queued, makes their source packages, builds \
             them with sbuild(1), publishes the results in the APT archive, moves tags, branches and the superproject \
             in Git, and runs hooks. It runs in the foreground, as the service's own user, and tells systemd(1) when it \
             is ready, if that is there. Submissions are accepted while it does not run; they wait.",
            "What it writes is one transaction: killed at any moment, the next start finishes what was committed and \
             queues again what was not. One daemon serves a state directory at a time.",
        ],
    );
    roff.control("SH", ["OPTIONS"]);
    arguments(command).for_each(|arg| argument(&mut roff, arg));
    roff.control("SH", ["SIGNALS"]);
    item(
        &mut roff,
        vec![bold("SIGHUP")],
        "Read the configuration again; a bad one is logged, and the old one kept.",
    );
    item(
        &mut roff,
        vec![bold("SIGTERM"), roman(", "), bold("SIGINT")],
        "Finish what is being published, stop builds, give their jobs back to the queue, and end.",
    );
    exit_status(&mut roff);
    files(&mut roff);
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("Run it without systemd, as root, which it gives up at once:")]);
    verbatim(&mut roff, "invirtibuilderd --config /etc/invirtibuilder/config.yaml");
    see_also(&mut roff, "invirt-build(1), sbuild(1), invirtibuilder.yaml(5), remctld(8)");
    roff.render()
}

/// `invirtibuilder-api(8)`. Its part is below this one, so its only option is written here.
pub fn answerer() -> String {
    let mut roff = page("invirtibuilder-api", "8", "answer remctl and HTTP for Invirtibuilder");
    synopsis(&mut roff, "invirtibuilder-api");
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`invirtibuilder-api` stays, and answers requests that would otherwise take a process each. It has two \
             sockets, made by systemd(1) or else by itself. At `command`, which is open to the service's own user and to \
             root, `build-relay` hands it what remctld(8) was asked: verbs that are done at once are answered here, and the \
             others, such as `log` and what has `--wait`, by invirt-build(1), which also answers everything when this \
             program does not run. At `http`, which is open to the group of invirtibuilder-web(8), it speaks HTTP/1.1.",
            "Whoever speaks HTTP is believed nothing. Each request carries a Kerberos ticket (`Authorization: Negotiate`, \
             RFC 4559), the session that a ticket has begun, or a token of invirt-build(1)'s verb `token` \
             (`Authorization: Bearer`, RFC 6750). The ACLs that decide are those of remctl. What it understands is in \
             `/api/v1/openapi.json`; `/metrics` is for Prometheus, and `/healthz` says whether the service works.",
            "It holds nothing that is not in the record, and may be stopped at any time. It reads the configuration again \
             when a file of it changes; whether and with which keytab it speaks HTTP is settled when it starts.",
        ],
    );
    roff.control("SH", ["OPTIONS"]);
    item(
        &mut roff,
        vec![bold("--config "), italic("FILE")],
        "Read another configuration than /etc/invirtibuilder/config.yaml.",
    );
    roff.control("SH", ["ENVIRONMENT"]);
    item(
        &mut roff,
        vec![bold("INVIRTIBUILDER_CONFIG")],
        "The configuration file, unless `--config` names one.",
    );
    item(
        &mut roff,
        vec![bold("INVIRTIBUILDER_RUN_DIR")],
        "Where `build-relay` finds the socket, if `run_dir` in the configuration is not /run/invirtibuilder.",
    );
    exit_status(&mut roff);
    files(&mut roff);
    item(
        &mut roff,
        vec![italic("/run/invirtibuilder/command"), roman(", "), italic("http")],
        "The sockets.",
    );
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("Ask as a program that has a token, on the server:")]);
    verbatim(&mut roff, TOKEN);
    see_also(
        &mut roff,
        "invirt-build(1), invirtibuilderd(8), invirtibuilder-web(8), invirtibuilder.yaml(5), remctld(8)",
    );
    roff.render()
}

const TOKEN: &str = "curl --unix-socket /run/invirtibuilder/http \\
    --header \"Authorization: Bearer $(cat token)\" http://localhost/api/v1/jobs";

/// `invirtibuilder.yaml(5)`.
pub fn configuration() -> String {
    let mut roff = page("invirtibuilder.yaml", "5", "configuration of the Invirtibuilder service");
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`/etc/invirtibuilder/config.yaml` configures invirt-build(1) and invirtibuilderd(8). The files \
             `conf.d/*.yaml` beside it are merged over it in the order of their names: maps are merged, anything else of a \
             later file replaces that of an earlier one. The option `--config` and the variable INVIRTIBUILDER_CONFIG \
             name another file.",
            "Every key has a default. A key that is not known, a value of the wrong type and a reference to what is not \
             there are errors; `invirt-build check-config` reports all of them with file, line and column. The daemon \
             reads the files again on SIGHUP, and keeps the old configuration if the new one is bad.",
            "Durations are written `90s`, `5m`, `2h` or `1d`, sizes `512M` or `8G`. Paths begin with a slash.",
        ],
    );
    roff.control("SH", ["KEYS"]);
    for key in keys::all() {
        let mut term = vec![bold(key.name), roman(" ("), italic(key.kind)];
        if let Some(default) = key.default {
            term.extend([roman(", default "), bold(default)]);
        }
        term.push(roman(")"));
        item(&mut roff, term, &key.text);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.text([roman("Every key, with its default where nothing else is said:")]);
    verbatim(&mut roff, include_str!("../../../examples/config.yaml"));
    files(&mut roff);
    see_also(&mut roff, "invirt-build(1), invirtibuilderd(8), remctld(8)");
    roff.render()
}

/// Writes which exit codes there are.
pub fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("Those of sysexits.h(3head). "), roman(BUGS)]);
    for (code, text) in [
        ("0", "Done."),
        ("1", "The job that was waited for failed."),
        ("64", "The command line is wrong."),
        (
            "65",
            "The request is not valid: unknown pocket, package or commit, or a version rule is broken.",
        ),
        ("69", "A service that is needed is unavailable."),
        ("70", "A bug."),
        ("75", "Try again later."),
        ("77", "Not permitted."),
        ("78", "The configuration is wrong."),
    ] {
        roff.control("TP", []);
        roff.text([roman(code)]);
        roff.text([roman(text)]);
    }
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    for (path, text) in [
        ("/etc/invirtibuilder/config.yaml", "The configuration: invirtibuilder.yaml(5)."),
        ("/etc/invirtibuilder/acl/", "Who may submit to which pocket: ACL files of remctld(8)."),
        ("/etc/invirtibuilder/hooks/", "Executables that run on events, below EVENT`.d`."),
        ("/etc/remctl/conf.d/invirtibuilder", "Makes the service a command of remctld(8)."),
        (
            "/var/lib/invirtibuilder/",
            "The record of all jobs, their logs, and build chroots and images.",
        ),
        ("/srv/git/, /srv/apt/", "Git repositories and APT archive, unless configured otherwise."),
    ] {
        item(roff, vec![italic(path)], text);
    }
}

/// Writes where there is more.
pub fn see_also(roff: &mut Roff, pages: &str) {
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages)]);
    roff.control("PP", []);
    roff.text([roman("/usr/share/doc/invirtibuilder/docs/README.md")]);
}

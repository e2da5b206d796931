//! `invirtibuilder-web(8)`: written by hand, as this program does not link that one.

use roff::{bold, italic, roman};

use crate::manual::pages::{exit_status, see_also};
use crate::manual::{item, page, section, verbatim};

/// `invirtibuilder-web(8)`.
pub fn web() -> String {
    let mut roff = page("invirtibuilder-web", "8", "serve the pages of the build service");
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([
        bold("invirtibuilder-web"),
        roman(" ["),
        bold("--config "),
        italic("FILE"),
        roman("] ["),
        bold("--is-configured"),
        roman("]"),
    ]);
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`invirtibuilder-web` serves the pages of the Invirtibuilder service to browsers, and passes on what programs \
             ask of its HTTP API: what runs and waits, which pocket has what, build logs as they are written, \
             submissions. It listens where `http.listen` of invirtibuilder.yaml(5) says; without `http` there are no \
             pages.",
            "It runs as a user of its own and decides nothing. Tickets, sessions and tokens pass through it to \
             invirtibuilder-api(8), at the socket `http` in `run_dir`; that process, the service's own, says who somebody is \
             and what they may. The only secret that it may hold is the key of `http.tls`.",
            "People sign in with a Kerberos ticket (SPNEGO), for which their browser is told once to trust the server; \
             then a cookie says who they are, until the session ends.",
        ],
    );
    roff.control("SH", ["OPTIONS"]);
    item(
        &mut roff,
        vec![bold("--config "), italic("FILE")],
        "The configuration file; otherwise INVIRTIBUILDER_CONFIG names it.",
    );
    item(
        &mut roff,
        vec![bold("--is-configured")],
        "Serve nothing, and end with 1 if the configuration has no `http`, else with 0.",
    );
    roff.control("SH", ["SIGNALS"]);
    item(&mut roff, vec![bold("SIGHUP")], "Read the certificate and its key again.");
    item(&mut roff, vec![bold("SIGTERM"), roman(", "), bold("SIGINT")], "End.");
    exit_status(&mut roff);
    roff.control("SH", ["FILES"]);
    for (path, text) in [
        ("/etc/invirtibuilder/config.yaml", "The configuration: invirtibuilder.yaml(5)."),
        ("/run/invirtibuilder/http", "The socket of invirtibuilder-api(8)."),
        (
            "/etc/credstore/invirtibuilder-web.key",
            "The key of `http.tls`, which systemd passes to the unit in place of the file that `http.tls.key` names.",
        ),
    ] {
        item(&mut roff, vec![italic(path)], text);
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("Pages on this machine, for a proxy in front that speaks TLS:")]);
    verbatim(&mut roff, BEHIND);
    roff.control("PP", []);
    roff.text([roman("A page by the ticket that curl(1) has, without a browser:")]);
    verbatim(&mut roff, "curl --negotiate -u : https://build.example.org/api/v1/jobs?show=failed");
    see_also(&mut roff, "invirt-build(1), invirtibuilder-api(8), invirtibuilder.yaml(5)");
    roff.render()
}

const BEHIND: &str = "http:
  listen: 127.0.0.1:8080
  url: https://build.example.org/
  keytab: /etc/invirtibuilder/http.keytab
  trusted: [127.0.0.1]";

//! `invirtibuilder-node(8)`: written by hand, as this program does not link that one.

use roff::{bold, italic, roman};

use crate::manual::pages::{exit_status, see_also};
use crate::manual::{item, page, section, verbatim};

/// `invirtibuilder-node(8)`.
pub fn node() -> String {
    let mut roff = page("invirtibuilder-node", "8", "build a package on a node of a Slurm cluster");
    roff.control("SH", ["SYNOPSIS"]);
    let dir = || [roman(" ["), bold("--state-dir "), italic("DIR"), roman("]")];
    roff.text(
        [bold("invirtibuilder-node "), bold("--check")]
            .into_iter()
            .chain(dir())
            .collect::<Vec<_>>(),
    );
    roff.control("br", []);
    roff.text(
        [bold("invirtibuilder-node "), italic("SCRIPT")]
            .into_iter()
            .chain(dir())
            .collect::<Vec<_>>(),
    );
    section(
        &mut roff,
        "DESCRIPTION",
        &[
            "`invirtibuilder-node` builds one package for invirtibuilderd(8), where `executor` of invirtibuilder.yaml(5) \
             says that Slurm builds. Slurm starts it: the batch script names it as its interpreter, and has the address \
             of the daemon, the SHA-256 of its certificate, and a right that is good once for each start, for minutes, \
             from the node that Slurm names. It exchanges the right for a session, whose key is in memory only.",
            "It builds in the same sandbox and with the same limits as the daemon. The source package, the chroot, build \
             dependencies, the log and the results pass over TLS: the node needs no directory in common with the \
             server. It has no key of the archive, no ticket and no database, and the daemon believes it no more than a \
             package.",
            "It keeps the chroots that it has fetched, the last six that were used, and nothing of a build.",
        ],
    );
    roff.control("SH", ["OPTIONS"]);
    item(
        &mut roff,
        vec![bold("--check")],
        "Look whether this node can build, print a line for each thing, and end with 78 if any is lacking. To be run as \
         the user that the service has, with the same uid as on the server.",
    );
    item(
        &mut roff,
        vec![bold("--set-up")],
        "Give the service's user subordinate ids, if it has none. The package's own script does it, as root.",
    );
    item(
        &mut roff,
        vec![bold("--state-dir "), italic("DIR")],
        "Where chroots are kept and builds work; /var/lib/invirtibuilder-node otherwise.",
    );
    item(
        &mut roff,
        vec![bold("--version")],
        "Print the version, which has to be that of the daemon.",
    );
    roff.control("SH", ["SIGNALS"]);
    item(&mut roff, vec![bold("SIGTERM")], "End the build at once.");
    exit_status(&mut roff);
    roff.control("SH", ["ENVIRONMENT"]);
    item(
        &mut roff,
        vec![
            bold("SLURM_JOB_ID"),
            roman(", "),
            bold("SLURM_RESTART_COUNT"),
            roman(", "),
            bold("SLURMD_NODENAME"),
        ],
        "Which start of which job it is, and where. Slurm sets them, and the daemon asks Slurm whether they are true.",
    );
    roff.control("SH", ["FILES"]);
    item(
        &mut roff,
        vec![italic("/usr/libexec/invirtibuilder-node/invirtibuilder-node")],
        "The program.",
    );
    item(&mut roff, vec![italic("/var/lib/invirtibuilder-node")], "Chroots, and builds that run.");
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("See what a node lacks:")]);
    verbatim(&mut roff, CHECK);
    see_also(&mut roff, "invirtibuilderd(8), invirtibuilder.yaml(5), sbatch(1), slurm.conf(5)");
    roff.render()
}

const CHECK: &str = "setpriv --reuid _invirtibuilder --regid _invirtibuilder --init-groups \\\\
    /usr/libexec/invirtibuilder-node/invirtibuilder-node --check";

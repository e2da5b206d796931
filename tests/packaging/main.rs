//! The life of our Debian packages: installed, upgraded, configured again, removed, installed
//! again, purged.
//!
//! The stories happen in a clean Debian root, which `script/lib/packaging` makes for
//! `script/test --only packaging`. They share it, one after the other; each begins without our
//! packages, and ends with the root as it was.

use std::fs;

use root::{CONFIG, Packages, Root};

mod root;

/// Where a new installation has `dev` in a domain of its own.
const DEV: &str = "/etc/invirtibuilder/conf.d/10-dev.yaml";
/// The record as the first release had it.
const FIRST_SCHEMA: &str = include_str!("../../src/store/schema/0001-jobs.sql");

#[test]
fn a_new_installation_is_whole_and_has_dev_in_a_domain_of_its_own() {
    let root = Root::clean();
    root.install(Packages::Ours);
    root.is_installed();
    let dev = root.read(DEV);
    assert!(dev.contains("domain: dev"), "dev is in no domain of its own: {dev}");
    root.inside(&["invirt-build", "init"]).ok();
    root.has_contents("dev has an archive of its own", "/srv/apt-dev/archive-key.asc");
    root.purge_everything();
    root.is_as_it_was();
}

#[test]
fn a_life_from_upgrade_to_purge_loses_nothing_that_is_kept_and_leaves_nothing_behind() {
    let root = Root::clean();
    upgrade_a_life_of_an_older_schema(&root);
    configure_again(&root);
    remove_and_install_again(&root);
    purge_but_keep_the_data(&root);
    live_again_and_purge_everything(&root);
}

/// An upgrade, over a changed configuration and the database of an older schema.
fn upgrade_a_life_of_an_older_schema(root: &Root) {
    root.install(Packages::Before);
    // As releases before domains were installed.
    let _ = fs::remove_file(root.path(DEV));
    root.live();
    root.append(CONFIG, "syslog: { facility: local3 }\n");
    root.replace_record(FIRST_SCHEMA, 1);
    root.install(Packages::Ours);
    root.is_installed();
    root.keeps_the_changed_conffile();
    assert!(!root.has(DEV), "an upgrade moves dev into a domain");
    assert_eq!(root.schema("invirtibuilder.db.schema-1"), 1, "the database was copied before");
    let schema = root.schema("invirtibuilder.db");
    assert!(schema > 1, "the database was not migrated: its schema is {schema}");
    root.inside(&["invirt-build", "init"]).ok();
    // Root's requests work.
    root.inside(&["invirt-build", "packages"]).ok();
}

/// To configure a package again changes nothing, however often it is done.
fn configure_again(root: &Root) {
    let (treasures, accounts) = (root.treasures(), root.accounts());
    root.inside(&["dpkg-reconfigure", "invirtibuilder"]).ok();
    root.inside(&["dpkg-reconfigure", "invirtibuilder"]).ok();
    assert_eq!(root.accounts(), accounts, "the accounts have changed");
    root.treasures().are(&treasures);
}

/// What is removed but not purged leaves everything that must never be lost, and finds it again.
fn remove_and_install_again(root: &Root) {
    let treasures = root.treasures();
    root.apt("remove", &["invirtibuilder", "invirtibuilder-remctl"]);
    assert!(!root.has("/usr/bin/invirt-build"), "the programs are still there");
    root.treasures().are(&treasures);
    root.install(Packages::Ours);
    root.is_installed();
    root.treasures().are(&treasures);
    root.keeps_the_changed_conffile();
}

/// A purge leaves Git, archive and signing key, unless we say otherwise.
fn purge_but_keep_the_data(root: &Root) {
    root.apt("purge", &["invirtibuilder", "invirtibuilder-remctl"]);
    assert!(!root.has("/var/lib/invirtibuilder"), "the record is still there");
    assert!(root.path("/srv/git/packages.git/objects").is_dir(), "Git is not kept");
    root.has_contents("the archive is kept", "/srv/apt/archive-key.asc");
    assert_eq!(
        root.files("/etc/invirtibuilder"),
        ["archive-key.asc", "conf.d/10-ours.yaml"],
        "its key and the administrator's own files are kept, and nothing else"
    );
    let users = root.read("/etc/passwd");
    assert!(
        users.lines().any(|line| line.starts_with("_invirtibuilder:")),
        "the user who owns them is not kept: {users}"
    );
}

/// A purge of everything, of a life that goes on over what the purge before has left.
fn live_again_and_purge_everything(root: &Root) {
    root.install(Packages::Ours);
    root.is_installed();
    root.live();
    root.purge_everything();
    root.is_as_it_was();
}

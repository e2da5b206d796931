//! `chroot create|update|list|remove`: what builds run in.

use std::io::Write;

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::progress::Terminal;
use invirtibuilder_api::chroots::{ChrootRequest, Form, MadeChroot};
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::Distro;
use invirtibuilder_core::time::utc;
use invirtibuilder_service::chroots;

/// What can be done with chroots.
#[derive(Debug, clap::Subcommand)]
pub enum ChrootVerb {
    /// Make the chroot of a distro from the host's own apt configuration
    Create {
        /// The distro, such as trixie
        distro: String,
        /// The architecture [default: this machine's]
        #[arg(long, value_name = "ARCHITECTURE")]
        arch: Option<String>,
        /// Make the image of its virtual machines, for pockets with isolation: vm
        #[arg(long)]
        vm: bool,
    },
    /// Make the chroots and images of a distro, or all, anew; running builds keep the old ones
    Update {
        /// The distro; all that there are if it is left out
        distro: Option<String>,
    },
    /// List the chroots and images
    List,
    /// Show where the packages of a chroot or image come from, and which they are
    Show {
        /// The distro, or a chroot as 'status JOB' names it
        chroot: String,
    },
    /// Remove the chroots and images of a distro; running builds keep them
    Remove {
        /// The distro
        distro: String,
    },
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, verb: &ChrootVerb) -> Result<Exit> {
    let server = &session.at_server("chroot")?;
    match verb {
        ChrootVerb::Create { distro, arch, vm } => {
            let request = ChrootRequest {
                architecture: arch.as_deref().map(str::parse).transpose()?,
                distro: distro.parse()?,
                form: if *vm { Form::Image } else { Form::Chroot },
            };
            chroots::create_chroot(server, &request, &Terminal)?;
        }
        ChrootVerb::Update { distro } => {
            let distro = distro.as_deref().map(str::parse).transpose()?;
            chroots::update_chroots(server, distro.as_ref(), &Terminal)?;
        }
        ChrootVerb::List => {
            let all = chroots::list_chroots(server)?;
            show_list(session, &all)?;
        }
        ChrootVerb::Show { chroot } => {
            let found = chroots::describe_chroots(server, chroot)?;
            show_contents(session, &found)?;
        }
        ChrootVerb::Remove { distro } => {
            let distro: Distro = distro.parse()?;
            for pocket in chroots::remove_chroots(server, &distro, &Terminal)? {
                writeln!(
                    std::io::stderr(),
                    "{pocket} builds in {distro}: until 'invirt-build chroot create {distro}', its jobs fail"
                )?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn show_contents(session: &CliSession, found: &[Manifest]) -> Result<()> {
    if session.wants_json() {
        return session.print_json(&found);
    }
    for chroot in found {
        let line = |key: &str, value: &str| session.line(format!("{key:<12} {value}"));
        line("chroot", &format!("{} {}", chroot.distro, chroot.architecture))?;
        line("sha256", chroot.digest.as_str())?;
        line("created", &utc(chroot.created))?;
        for source in &chroot.sources {
            line("source", &source.line(&source.uri, None))?;
        }
        for package in &chroot.packages {
            line(
                "package",
                &format!("{} {} {}", package.name, package.version, package.architecture),
            )?;
        }
    }
    Ok(())
}

fn show_list(session: &CliSession, all: &[MadeChroot]) -> Result<()> {
    if session.wants_json() {
        return session.print_json(&all);
    }
    let row = |MadeChroot { form, manifest }: &MadeChroot| {
        let (distro, architecture) =
            (manifest.distro.to_string(), manifest.architecture.to_string());
        let [form, digest] = [form.word(), manifest.digest.short()].map(str::to_owned);
        [distro, architecture, form, utc(manifest.created), digest]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    session.table(["DISTRO", "ARCHITECTURE", "FORM", "CREATED", "CHROOT"], &rows)?;
    Ok(())
}

//! The manual: pages and shell completions, made from the command line and the configuration that
//! the programs really have. `generate` writes them when the package is built.

use clap::Command;
use roff::{Inline, Roff, bold, italic, roman};

mod keys;
mod node;
mod pages;
mod web;

pub use node::node;
pub use pages::{answerer, configuration, daemon, verbs};
pub use web::web;

/// Writes a page's head: its title line and NAME.
fn page(name: &str, section: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control(
        "TH",
        [name, section, "", concat!("Invirtibuilder ", env!("CARGO_PKG_VERSION")), ""],
    );
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} \\- {about}").replace("\\-", "-"))]);
    roff
}

/// Writes a paragraph below a heading of its own.
fn section(roff: &mut Roff, heading: &str, paragraphs: &[&str]) {
    roff.control("SH", [heading]);
    for (n, text) in paragraphs.iter().enumerate() {
        if n > 0 {
            roff.control("PP", []);
        }
        roff.text(marked(text));
    }
}

/// Writes a term and what it means.
fn item(roff: &mut Roff, term: Vec<Inline>, text: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text(marked(text));
}

/// Lines that are printed as they are.
fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.control("nf", []);
    roff.control("RS", ["4"]);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("RE", []);
    roff.control("fi", []);
}

/// Text with what stands between backquotes in bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(n, part)| if n % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// Collects every visible verb in its full spelling, with its command.
fn leaves<'a>(command: &'a Command, prefix: &str, found: &mut Vec<(String, &'a Command)>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("{prefix}{}", sub.get_name());
        if sub.has_subcommands() {
            leaves(sub, &format!("{name} "), found);
        } else {
            found.push((name, sub));
        }
    }
}

/// Lists the arguments of a command that are its own, and that people may write.
fn arguments(command: &Command) -> impl Iterator<Item = &clap::Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set())
}

/// Writes an argument, its value and its default, and what it means.
fn argument(roff: &mut Roff, arg: &clap::Arg) {
    let mut term: Vec<_> =
        arg.get_long().map(|long| bold(format!("--{long}"))).into_iter().collect();
    if arg.get_action().takes_values() {
        term.extend(arg.get_long().map(|_| roman(" ")));
        term.push(italic(value(arg)));
        for default in arg.get_default_values() {
            term.extend([roman(" (default "), bold(default.to_string_lossy()), roman(")")]);
        }
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    item(roff, term, &format!("{}.", help.trim_end_matches('.')));
}

/// Writes how a verb is called: its name in bold, what is to be replaced in italics.
fn call(name: &str, command: &Command) -> Vec<Inline> {
    let mut line = vec![bold(name)];
    for arg in arguments(command) {
        let required = arg.is_required_set();
        line.push(roman(if required { " " } else { " [" }));
        if let Some(long) = arg.get_long() {
            line.push(bold(format!("--{long}")));
        }
        if arg.get_action().takes_values() {
            if arg.get_long().is_some() {
                line.push(roman(" "));
            }
            line.push(italic(value(arg)));
        }
        if !required {
            line.push(roman("]"));
        }
    }
    line
}

fn value(arg: &clap::Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().map_or_else(|| arg.get_id().to_string().to_uppercase(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use crate::manual::*;

    /// Returns what a reader sees, more or less: groff's escapes taken out.
    fn plain(page: &str) -> String {
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
    }

    #[test]
    fn every_verb_and_option_is_in_the_page() {
        let command = crate::command();
        let page = plain(&verbs(&command));
        let mut found = Vec::new();
        leaves(&command, "", &mut found);
        assert!(found.len() > 15, "{found:?}");
        for (name, verb) in found {
            assert!(page.contains(&format!("\n{name}")), "{name}");
            for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let term = arg.get_long().map_or_else(|| value(arg), |long| format!("--{long}"));
                assert!(page.contains(&term), "{name}: {term}");
            }
        }
        assert!(!page.contains("update-hook") && !page.contains("package-setup"));
        assert!(page.contains("--limit LIMIT (default 100)"), "{page}");
        for exit in ["0", "1", "64", "65", "69", "70", "75", "77", "78"] {
            assert!(page.contains(&format!("\n{exit}\n")), "exit {exit}");
        }
    }

    #[test]
    fn every_key_is_in_the_page_with_what_it_means() {
        let page = plain(&configuration());
        for key in [
            "state_dir",
            "git.packages",
            "build.pockets.POCKET.limits.silence",
            "http.listen",
            "syslog.facility",
        ] {
            assert!(page.contains(&format!("\n{key} ")), "{key}");
        }
        for rust in ["`", "[Config", "Config::", "None", "PathBuf", "Option<"] {
            assert!(!page.contains(rust), "{rust}: {page}");
        }
    }
}

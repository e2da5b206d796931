//! `invirt-build`'s command line: parses it, finds out who asks, runs the verb, and turns any error
//! into one sentence and an exit code.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod manual;
pub mod session;
pub mod verbs;

use crate::session::{CliSession, Output, OutputFormat};
use invirtibuilder_access::identity::Caller;
use invirtibuilder_core::config;
use invirtibuilder_core::error::{Error, Exit, exit_for};
use invirtibuilder_service::desk::Desk;
use invirtibuilder_system::relay::RelayedCommand;

/// Builds Debian packages from Git and publishes them in an APT archive.
#[derive(Debug, Parser)]
#[command(name = "invirt-build", version, disable_help_subcommand = true, max_term_width = 80)]
struct Cli {
    /// Configuration file [default: $INVIRTIBUILDER_CONFIG, then /etc/invirtibuilder/config.yaml]
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

impl Cli {
    fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { OutputFormat::Text }
    }
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring a commit of a package into a pocket
    Submit(verbs::submit::SubmitArgs),
    /// Show a job, or what is queued, running and lately finished
    Status(verbs::status::StatusArgs),
    /// Show what a job's result follows from: commit, tarballs, conditions, sums
    Explain(verbs::explain::ExplainArgs),
    /// Print a job's build log
    Log(verbs::log::LogArgs),
    /// Wait until jobs have ended; exit 0 if all are published
    Wait(verbs::wait::WaitArgs),
    /// Stop a queued or running job
    Cancel(verbs::cancel::CancelArgs),
    /// Queue a failed or cancelled job again
    Retry(verbs::retry::RetryArgs),
    /// List the pockets and how many packages each has
    Pockets,
    /// Show which version of each package is in which pocket
    Packages(verbs::packages::PackagesArgs),
    /// List the jobs of a package, the newest first
    History(verbs::history::HistoryArgs),
    /// Show how two pockets differ
    Diff(verbs::diff::DiffArgs),
    /// Submit to one pocket the commit that another has now
    Promote(verbs::promote::PromoteArgs),
    /// Build what a pocket has once more, without changes, as a version of its own
    Rebuild(verbs::rebuild::RebuildArgs),
    /// Take a package out of a pocket
    Remove(verbs::remove::RemoveArgs),
    /// Create an empty package repository
    CreateRepo(verbs::create_repo::CreateRepoArgs),
    /// Print the principal that the service sees
    Whoami,
    /// Make, list and revoke tokens, by which programs ask over HTTP
    #[command(subcommand)]
    Token(verbs::token::TokenCommand),
    /// Explain who may do what
    #[command(subcommand)]
    Acl(verbs::acl::Acl),
    /// Set the service up (on the server only)
    Init(verbs::init::InitArgs),
    /// Check the configuration and the ACLs that it names (on the server only)
    CheckConfig,
    /// Carry out what an ssh client asks for: sshd's forced command
    #[command(hide = true)]
    SshCommand(verbs::ssh::Command),
    /// Print everybody's keys: sshd's AuthorizedKeysCommand
    #[command(hide = true)]
    AuthorizedKeys(verbs::ssh::AuthorizedKeys),
    /// Create, update and list chroots (on the server only)
    #[command(subcommand)]
    Chroot(verbs::chroot::ChrootVerb),
    /// List and restore earlier states of suites, and tidy up (on the server only)
    #[command(subcommand)]
    Archive(verbs::archive::ArchiveVerb),
    /// Check, show and export the audit trail (on the server only)
    #[command(subcommand)]
    Audit(verbs::audit::Audit),
    /// Compare database, Git and archive, and mend what differs (on the server only)
    Verify(verbs::verify::VerifyArgs),
    /// Print numbers for Prometheus, in its text format (on the server only)
    Metrics,
    /// Explain a verb
    Help {
        /// The verb
        verb: Vec<String>,
    },
    /// One line about the service, for `remctl … help`
    #[command(hide = true)]
    Summary,
    /// Print what may come next on a command line, for shells
    #[command(hide = true)]
    Complete(verbs::complete::CompleteArgs),
    /// Write man pages, shell completions and the schema of the configuration
    #[command(hide = true)]
    Generate(verbs::generate::GenerateArgs),
    /// What the Debian package runs when it is configured
    #[command(hide = true)]
    PackageSetup(verbs::package_setup::PackageSetupArgs),
    /// What Git runs when somebody pushes to a repository of ours
    #[command(hide = true)]
    UpdateHook(verbs::update_hook::UpdateHookArgs),
}

/// Returns the command line, as the manual and shells need it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line `args` (with the program's name first) and returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    invirtibuilder_system::private::settle_umask();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!(
            "invirt-build: this is a bug, please report it: {}",
            invirtibuilder_core::text::one_line(&panic.to_string())
        );
        std::process::exit(Exit::Bug as i32);
    }));
    let done = match Cli::try_parse_from(args) {
        Ok(cli) => run(cli, &Caller::of_this_process()),
        Err(error) => return usage(&Output::Process, &error).into(),
    };
    match done {
        Ok(code) => code,
        Err(error) => told(&Output::Process, &error).into(),
    }
}

/// Tells an error, and returns its exit code.
fn told(output: &Output, error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Ok;
    }
    let sentence = invirtibuilder_core::text::one_line(&format!("{error:#}"));
    let _ = output.err().write_all(format!("invirt-build: {sentence}\n").as_bytes());
    exit_for(error)
}

/// Answers a command of remctld's in a process that answers many. `None`: it is for a process of
/// its own, as it stays, or does what no other request should wait for.
pub fn answer_relayed(desk: &Desk, command: RelayedCommand) -> Option<Exit> {
    let RelayedCommand { remote_user, words, out, err } = command;
    let output = Output::Other { out, err };
    let cli = match parse_again([OsString::from("invirt-build")].into_iter().chain(words)) {
        Ok(cli) => cli,
        Err(error) => return Some(usage(&output, &error)),
    };
    if !cli.verb.is_quick() {
        return None;
    }
    let caller = Caller::Remctl(remote_user);
    let opened = refuse_config(&cli).map_err(Into::into).and_then(|()| desk.session(&caller));
    let session = match opened {
        Ok(session) => session,
        Err(error) => return Some(told(&output, &error)),
    };
    let mut session = CliSession::of(session, cli.format(), output);
    let done = cli.verb.answer(&mut session);
    Some(done.unwrap_or_else(|error| told(session.output(), &error)))
}

/// Parses a command line on a thread that parses many: the description of ours is made once.
fn parse_again(words: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    thread_local! {
        static COMMAND: RefCell<clap::Command> = RefCell::new(Cli::command());
    }
    COMMAND.with_borrow_mut(|command| {
        let mut matches = command.try_get_matches_from_mut(words)?;
        Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(command))
    })
}

fn run(cli: Cli, caller: &Caller) -> anyhow::Result<ExitCode> {
    if caller.is_remote() {
        refuse_config(&cli)?;
    }
    let Verb::SshCommand(args) = &cli.verb else { return Ok(serve(cli, caller)?.into()) };
    here(&cli, caller, "ssh-command")?;
    // A client may be allowed to set variables: which configuration counts is for the forced
    // command to say.
    let config = cli.config.clone().unwrap_or_else(|| config::default_path().to_owned());
    let (caller, words) = verbs::ssh::command(&config, args)?;
    let request =
        match Cli::try_parse_from([OsString::from("invirt-build")].into_iter().chain(words)) {
            Ok(request) => request,
            Err(error) => return Ok(usage(&Output::Process, &error).into()),
        };
    refuse_config(&request)?;
    Ok(serve(Cli { config: Some(config), ..request }, &caller)?.into())
}

/// Which file is the configuration is not for somebody elsewhere to say.
fn refuse_config(cli: &Cli) -> Result<(), Error> {
    match &cli.config {
        Some(_) => {
            Err(Error::denied("--config is for administrators in a shell on the server only"))
        }
        None => Ok(()),
    }
}

/// Demands that the caller sits at the server; otherwise it is written down.
fn here(cli: &Cli, caller: &Caller, verb: &str) -> anyhow::Result<()> {
    if caller.is_remote() {
        CliSession::open(cli.config.as_deref(), cli.format(), caller)?.local_only(verb)
    } else {
        Ok(())
    }
}

/// Serves a request.
fn serve(cli: Cli, caller: &Caller) -> anyhow::Result<Exit> {
    let (config, format) = (cli.config.as_deref(), cli.format());
    match &cli.verb {
        Verb::CheckConfig => here(&cli, caller, "check-config")?,
        Verb::Init(_) => here(&cli, caller, "init")?,
        Verb::AuthorizedKeys(_) => here(&cli, caller, "authorized-keys")?,
        Verb::SshCommand(_) => here(&cli, caller, "ssh-command")?,
        Verb::Generate(_) => here(&cli, caller, "generate")?,
        Verb::PackageSetup(_) => here(&cli, caller, "package-setup")?,
        // Git may run it with a REMOTE_USER of its own; it looks for itself.
        Verb::UpdateHook(_) if matches!(caller, Caller::Ssh(_)) => {
            here(&cli, caller, "update-hook")?;
        }
        _ => {}
    }
    match cli.verb {
        Verb::Help { verb } => return help(&verb),
        Verb::Summary => {
            writeln!(std::io::stdout(), "build: build Debian packages from Git; see 'build help'")?;
        }
        Verb::UpdateHook(args) => return verbs::update_hook::answer(&args),
        Verb::Generate(args) => return verbs::generate::answer(command(), &args),
        Verb::PackageSetup(args) => return verbs::package_setup::answer(config, &args),
        Verb::CheckConfig => return verbs::check_config::answer(config, format),
        Verb::SshCommand(_) => return Err(Error::denied("ssh-command is for sshd only").into()),
        Verb::AuthorizedKeys(args) => return verbs::ssh::authorized_keys(config, &args),
        Verb::Init(args) => return verbs::init::answer(config, &args, format),
        verb => return verb.answer(&mut CliSession::open(config, format, caller)?),
    }
    Ok(Exit::Ok)
}

impl Verb {
    /// Tells whether it is done at once, and starts nothing that goes on.
    fn is_quick(&self) -> bool {
        match self {
            Verb::Submit(args) => !args.stays(),
            Verb::Promote(args) => !args.stays(),
            Verb::Rebuild(args) => !args.stays(),
            Verb::Status(args) => !args.stays(),
            Verb::Explain(_)
            | Verb::Cancel(_)
            | Verb::Retry(_)
            | Verb::Pockets
            | Verb::Packages(_)
            | Verb::History(_)
            | Verb::Diff(_)
            | Verb::Whoami
            | Verb::Acl(_)
            | Verb::Token(_)
            | Verb::Complete(_) => true,
            _ => false,
        }
    }

    /// Runs a verb that works with a session.
    fn answer(self, session: &mut CliSession) -> anyhow::Result<Exit> {
        match self {
            Verb::Submit(args) => verbs::submit::answer(session, &args),
            Verb::Status(args) => verbs::status::answer(session, &args),
            Verb::Explain(args) => verbs::explain::answer(session, &args),
            Verb::Log(args) => verbs::log::answer(session, &args),
            Verb::Wait(args) => verbs::wait::answer(session, &args),
            Verb::Cancel(args) => verbs::cancel::answer(session, &args),
            Verb::Retry(args) => verbs::retry::answer(session, &args),
            Verb::Pockets => verbs::pockets::answer(session),
            Verb::Packages(args) => verbs::packages::answer(session, &args),
            Verb::History(args) => verbs::history::answer(session, &args),
            Verb::Diff(args) => verbs::diff::answer(session, &args),
            Verb::Promote(args) => verbs::promote::answer(session, &args),
            Verb::Rebuild(args) => verbs::rebuild::answer(session, &args),
            Verb::Remove(args) => verbs::remove::answer(session, &args),
            Verb::CreateRepo(args) => verbs::create_repo::answer(session, &args),
            Verb::Whoami => verbs::whoami::answer(session),
            Verb::Complete(args) => verbs::complete::answer(session, &command(), &args),
            Verb::Token(verb) => verbs::token::answer(session, &verb),
            Verb::Acl(verb) => verbs::acl::answer(session, &verb),
            Verb::Archive(verb) => verbs::archive::answer(session, &verb),
            Verb::Audit(verb) => verbs::audit::answer(session, &verb),
            Verb::Verify(args) => verbs::verify::answer(session, &args),
            Verb::Metrics => verbs::metrics::answer(session),
            Verb::Chroot(verb) => verbs::chroot::answer(session, &verb),
            Verb::Help { .. }
            | Verb::Summary
            | Verb::UpdateHook(_)
            | Verb::Generate(_)
            | Verb::PackageSetup(_)
            | Verb::CheckConfig
            | Verb::SshCommand(_)
            | Verb::AuthorizedKeys(_)
            | Verb::Init(_) => Err(Error::bug("this verb needs no session").into()),
        }
    }
}

/// Prints the help of the whole program or of one verb; over remctl `help` comes with the verb as
/// its argument.
fn help(verb: &[String]) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let mut found = &mut command;
    for word in verb {
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            Error::usage(format!(
                "there is no verb {}: 'help' lists them",
                invirtibuilder_core::text::quoted(word)
            ))
        })?;
    }
    write!(std::io::stdout(), "{}", found.render_long_help())?;
    Ok(Exit::Ok)
}

/// Prints what clap has to say: help and version on standard output, anything else as one sentence.
fn usage(output: &Output, error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = write!(output.out(), "{}", error.render());
        return Exit::Ok;
    }
    let _ = output.err().write_all(format!("invirt-build: {}\n", sentence(error)).as_bytes());
    Exit::Usage
}

/// Says what is wrong with a command line, in one sentence.
fn sentence(error: &clap::Error) -> String {
    use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    let text = error.render().to_string();
    if matches!(error.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand) {
        // The line begins with the program; options and what is missing follow the verb.
        let usage =
            text.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or_default();
        let verb: Vec<&str> =
            usage.split(' ').skip(1).take_while(|word| !word.starts_with(['[', '<'])).collect();
        return match &verb[..] {
            [] => "the verb is missing: 'help' lists them".to_owned(),
            verb => format!(
                "{} needs one word more, which says what to do: see 'help {0}'",
                verb.join(" ")
            ),
        };
    }
    let first: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let sentence = first.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    let shown: String = invirtibuilder_core::text::one_line(sentence).chars().take(400).collect();
    format!("{shown}; see 'help'")
}

/// Tells whether the reader of our output has left: nobody is there to be told.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_missing_is_said_in_one_sentence() {
        let said = |words: &[&str]| {
            let words = ["invirt-build"].iter().chain(words);
            sentence(&Cli::try_parse_from(words).expect_err("it is not complete"))
        };
        assert_eq!(said(&[]), "the verb is missing: 'help' lists them");
        assert_eq!(said(&["--json"]), "the verb is missing: 'help' lists them");
        assert_eq!(
            said(&["acl"]),
            "acl needs one word more, which says what to do: see 'help acl'"
        );
        assert_eq!(
            said(&["acl", "--json"]),
            "acl needs one word more, which says what to do: see 'help acl'"
        );
        assert!(
            said(&["nonsense"]).starts_with("unrecognized subcommand 'nonsense'"),
            "{}",
            said(&["nonsense"])
        );
        let status = Cli::try_parse_from(["invirt-build", "status", "-1"]);
        assert!(status.is_ok(), "that it is no number of a job is for the verb to say");
    }
}

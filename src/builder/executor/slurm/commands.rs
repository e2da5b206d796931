//! Slurm's own commands: `sbatch`, `squeue`, `scancel`, and what `scontrol` and `sinfo` say of a job
//! and a node. They are run without a shell, and their text is the same in all releases of Slurm.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// How long one of the commands may take. They themselves wait for a controller that is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked of Slurm.
#[derive(Debug, Clone)]
pub struct SlurmRequest {
    /// The job's name.
    pub name: String,
    /// The script.
    pub script: String,
    /// The options that say where it may run.
    pub place: Vec<String>,
    /// The node that it may not run on.
    pub never: Option<String>,
    /// The nodes that it shall not run on if there are others.
    pub avoid: Vec<String>,
    /// The most minutes that it takes.
    pub minutes: u64,
    /// The most memory that it takes, in MiB.
    pub memory: u64,
}

impl SlurmRequest {
    fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = ["--parsable", "--nodes=1", "--ntasks=1"]
            .into_iter()
            .chain(["--requeue", "--chdir=/", "--input=/dev/null"])
            // The environment is what we give to sbatch: next to nothing. With any other value, what
            // the user's login shell makes of it comes beside (NIL is new in 23.02).
            .chain(["--export=ALL"])
            // The node sends the log; what is written before it can is of no use to anybody here.
            .chain(["--output=/dev/null", "--error=/dev/null"])
            .map(str::to_owned)
            .collect();
        options.push(format!("--job-name={}", self.name));
        options.push(format!("--time={}", self.minutes));
        options.push(format!("--mem={}M", self.memory));
        options.extend(self.place.iter().cloned());
        let others: Vec<&str> = self.never.iter().chain(&self.avoid).map(String::as_str).collect();
        if !others.is_empty() {
            options.push(format!("--exclude={}", others.join(",")));
        }
        options
    }
}

/// A job in Slurm's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Slurm's number.
    pub number: u64,
    /// The state, such as `PENDING`.
    pub state: String,
    /// The node that the script runs on, if it runs.
    pub node: Option<String>,
    /// Why it waits, in Slurm's word.
    pub reason: String,
}

/// What Slurm says of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDescription {
    /// The job's name.
    pub name: String,
    /// The state, such as `RUNNING`.
    pub state: String,
    /// How often Slurm has started it again.
    pub again: u32,
    /// The node that the script runs on.
    pub node: Option<String>,
}

/// Submits a job. Returns Slurm's number.
pub async fn submit(it: &SlurmRequest, cancel: &CancellationToken) -> Result<u64> {
    let cmd = Cmd::new("sbatch").args(it.options()).input(it.script.clone());
    let said = cmd.total(PATIENCE).run(cancel).await?.success()?;
    let text = String::from_utf8_lossy(&said);
    read_number(&text).with_context(|| {
        format!("sbatch did not print a number: {}", invirtibuilder_core::text::one_line(&text))
    })
}

/// Reads what `sbatch --parsable` prints: a number, and the cluster's name behind it.
fn read_number(text: &str) -> Option<u64> {
    text.trim().split(';').next()?.parse().ok()
}

/// Lists the jobs of this user in the queue, by name: those that wait, run, or have ended lately.
pub async fn queue(cancel: &CancellationToken) -> Result<HashMap<String, QueuedJob>> {
    let cmd = Cmd::new("squeue").args(["-h", "-t", "all", "--me", "-o", "%i|%j|%T|%B|%r"]);
    let said = cmd.total(PATIENCE).run(cancel).await?.success()?;
    let mut jobs: Vec<_> = String::from_utf8_lossy(&said).lines().filter_map(read_queued).collect();
    // Of two of one name the later one counts.
    jobs.sort_by_key(|(_, job)| job.number);
    Ok(jobs.into_iter().collect())
}

fn read_queued(line: &str) -> Option<(String, QueuedJob)> {
    let mut fields = line.split('|');
    let (number, name) = (fields.next()?.trim().parse().ok()?, fields.next()?.to_owned());
    let (state, node) = (fields.next()?.to_owned(), known(fields.next()?));
    let reason = fields.collect::<Vec<_>>().join("|");
    Some((name, QueuedJob { number, state, node, reason }))
}

/// Returns a value that Slurm knows.
fn known(value: &str) -> Option<String> {
    let unknown = ["", "n/a", "N/A", "(null)", "None assigned"];
    (!unknown.contains(&value)).then(|| value.to_owned())
}

/// Cancels the jobs of this name; it is no error that there are none.
pub async fn cancel_named(name: &str) -> Result<()> {
    let cmd = Cmd::new("scancel").args(["--quiet", "--me"]).arg(format!("--name={name}"));
    let done = cmd.total(PATIENCE).run(&CancellationToken::new()).await?;
    done.success().map(drop)
}

/// Asks what Slurm says of a job.
pub async fn describe(number: u64, cancel: &CancellationToken) -> Result<JobDescription> {
    let cmd = Cmd::new("scontrol").args(["--oneliner", "show", "job"]).arg(number.to_string());
    let said = cmd.total(PATIENCE).run(cancel).await?.success()?;
    let text = String::from_utf8_lossy(&said);
    read_description(&text).with_context(|| {
        let text = invirtibuilder_core::text::one_line(&text);
        format!("scontrol says nothing that can be read of job {number}: {text}")
    })
}

fn read_description(line: &str) -> Option<JobDescription> {
    let field = |key: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some(JobDescription {
        name: field("JobName")?.to_owned(),
        state: field("JobState")?.to_owned(),
        again: field("Restarts")?.parse().ok()?,
        node: field("BatchHost").and_then(known),
    })
}

/// Finds the addresses of a node as Slurm has them.
pub async fn addresses(node: &str, cancel: &CancellationToken) -> Result<Vec<IpAddr>> {
    let cmd = Cmd::new("sinfo").args(["-h", "-N", "-o", "%o"]).arg(format!("--nodes={node}"));
    let said = cmd.total(PATIENCE).run(cancel).await?.success()?;
    let text = String::from_utf8_lossy(&said);
    let Some(host) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        bail!("sinfo knows no node {}", invirtibuilder_core::text::quoted(node));
    };
    let found = tokio::net::lookup_host((host, 0))
        .await
        .with_context(|| format!("the address {host} of node {node} cannot be found"))?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_one_job_without_an_environment() {
        let it = SlurmRequest {
            name: "ib-x-1.1-amd64-1".to_owned(),
            script: "#!/x\n".to_owned(),
            place: vec!["--partition=build".to_owned()],
            never: Some("n1".to_owned()),
            avoid: vec!["n2".to_owned()],
            minutes: 90,
            memory: 2048,
        };
        let options = it.options();
        for wanted in [
            "--parsable",
            "--export=ALL",
            "--job-name=ib-x-1.1-amd64-1",
            "--time=90",
            "--mem=2048M",
            "--partition=build",
            "--exclude=n1,n2",
        ] {
            assert!(options.iter().any(|option| option == wanted), "{options:?}");
        }
        assert!(options.iter().all(|option| option.starts_with("--")));
    }

    #[test]
    fn what_slurm_prints_is_read() {
        assert_eq!(read_number("12\n"), Some(12));
        assert_eq!(read_number("12;lab\n"), Some(12));
        assert_eq!(read_number("sbatch: error"), None);
        let (name, job) = read_queued("7|ib-a|PENDING|n/a|Resources").unwrap();
        assert_eq!((&*name, job.number, job.node), ("ib-a", 7, None));
        let (_, job) = read_queued("8|ib-b|RUNNING|n1|None").unwrap();
        assert_eq!((job.node.as_deref(), &*job.reason), (Some("n1"), "None"));
        assert_eq!(read_queued("rubbish"), None);
        let line = "JobId=8 JobName=ib-b UserId=x(1) JobState=RUNNING Reason=None Requeue=1 Restarts=2 BatchFlag=1 \
                    ExitCode=0:0 BatchHost=n3 NumNodes=1";
        let expected = JobDescription {
            name: "ib-b".to_owned(),
            state: "RUNNING".to_owned(),
            again: 2,
            node: Some("n3".to_owned()),
        };
        assert_eq!(read_description(line), Some(expected));
        assert_eq!(read_description("slurm_load_jobs error: Invalid job id specified"), None);
    }
}

//! Slurm's states and reasons, in words: `status` shows them.

use crate::executor::slurm::commands::QueuedJob;

/// Says how a job is with Slurm. The word that Slurm has for it stands behind, for whoever looks it
/// up in squeue(1).
pub fn words(job: &QueuedJob) -> String {
    let why = || match reason(&job.reason) {
        Some(text) => format!("{text} ({})", plain(&job.reason)),
        None => format!("it waits ({})", plain(&job.reason)),
    };
    match job.state.as_str() {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" => why(),
        "CONFIGURING" => "its node is being made ready".to_owned(),
        "RUNNING" => "it runs".to_owned(),
        "SUSPENDED" | "STOPPED" => "it is suspended".to_owned(),
        "COMPLETING" | "STAGE_OUT" | "SIGNALING" => "it is ending".to_owned(),
        "PREEMPTED" => "another job took its place".to_owned(),
        "NODE_FAIL" | "BOOT_FAIL" => "its node failed".to_owned(),
        "COMPLETED" => "it has ended".to_owned(),
        "CANCELLED" => "somebody cancelled it there".to_owned(),
        "TIMEOUT" | "DEADLINE" => "its time there was over".to_owned(),
        "OUT_OF_MEMORY" => "it took more memory than it had there".to_owned(),
        "FAILED" => "it failed there".to_owned(),
        other => format!("Slurm says {}", plain(other)),
    }
}

/// Slurm's word, as far as it is one.
fn plain(word: &str) -> String {
    let short: String = word.chars().take(100).collect();
    invirtibuilder_core::text::one_line(&short)
}

fn reason(word: &str) -> Option<&'static str> {
    Some(match word.split(',').next().unwrap_or_default() {
        "None" | "" => "it waits to be looked at",
        "Resources" => "it waits for a free node",
        "Priority" => "other jobs are before it",
        "BeginTime" => "Slurm has put it off for a while",
        "Dependency" => "it waits for another job",
        "JobHeldUser" => "somebody holds it: 'scontrol release' lets it go on",
        "JobHeldAdmin" => "an administrator of Slurm holds it: 'scontrol release' lets it go on",
        "PartitionDown" => "its partition is down: 'scontrol update' brings it up",
        "PartitionInactive" => "its partition is inactive",
        "PartitionNodeLimit" | "PartitionTimeLimit" | "PartitionConfig" => {
            "its partition does not allow what it asks for: look at limits.time and at the partition"
        }
        "ReqNodeNotAvail" | "NodeDown" => "no node that it may run on is up",
        "Reservation" => "its nodes are reserved",
        "BadConstraints" => "no node has what it asks for: look at constraint and limits.memory",
        "InvalidAccount" => "Slurm does not know the account",
        "InvalidQOS" => "Slurm does not know the quality of service",
        "launch" | "launch_failed_requeued_held" => {
            "a node could not start it, and Slurm holds it: 'scontrol release' lets it go on"
        }
        word if word.starts_with("Assoc") => "a limit of its account is reached",
        word if word.starts_with("QOS") => "a limit of its quality of service is reached",
        word if word.starts_with("JobArrayTask") => "a limit of Slurm is reached",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_said_in_words_with_slurms_own_behind() {
        let said = |state: &str, reason: &str| {
            words(&QueuedJob {
                number: 1,
                state: state.to_owned(),
                node: None,
                reason: reason.to_owned(),
            })
        };
        assert_eq!(said("PENDING", "Resources"), "it waits for a free node (Resources)");
        assert_eq!(
            said("PENDING", "ReqNodeNotAvail, UnavailableNodes:n1"),
            "no node that it may run on is up (ReqNodeNotAvail, UnavailableNodes:n1)"
        );
        assert_eq!(
            said("PENDING", "QOSMaxJobsPerUserLimit").split(" (").next(),
            Some("a limit of its quality of service is reached")
        );
        assert_eq!(said("PENDING", "Strange\x1b[2J"), "it waits (Strange\\u{1b}[2J)");
        assert_eq!(said("RUNNING", "None"), "it runs");
        assert_eq!(said("NEW_STATE", "None"), "Slurm says NEW_STATE");
    }
}

#!/bin/bash
# Slurm 22.05 (Debian 12) with ProctrackType=proctrack/cgroup and no cgroup.conf: slurmd starts and its node is idle, but slurmstepd finds no
# control groups, and no job begins. Slurm drains the node, and says COMPLETED with exit code 0:0 of the job that never ran. With a
# cgroup.conf that says what is the default, the same job runs.
# Needs root, and control groups of version 1: slurmctld, slurmd and munged run, on the loopback interface and for this script only.
. "${0%/*}/lib.sh"
freezer=/sys/fs/cgroup/freezer
group=$freezer$(awk -F: '$2 == "freezer" { print $3 }' /proc/self/cgroup)/finding-$$
cluster SelectTypeParameters=CR_Core SlurmdParameters=config_overrides SchedulerParameters=batch_sched_delay=0,sched_interval=2 \
	ProctrackType=proctrack/cgroup SlurmdLogFile="$tmp/node.log"
controller
clean() {
	kill "$slurmctld" "$slurmd" "$munged" 2>/dev/null || true
	wait
	for _ in $(seq 50); do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.1; done
	rm -rf "$tmp"
}
# The daemon has a tree of groups to itself.
node() {
	mkdir -p "$group"
	(echo "$BASHPID" >"$group/cgroup.procs" && exec unshare --mount --cgroup -- sh -c "umount $freezer && mount -t cgroup -o freezer groups $freezer &&
		exec slurmd-wlm -D -N n1 -d $tmp/bookworm/usr/sbin/slurmstepd-wlm") >/dev/null 2>&1 &
	slurmd=$!
	for _ in $(seq 150); do [[ $(sinfo -h -n n1 -o %T) = idle ]] && return; sleep 0.2; done
	changed "the node is $(sinfo -h -n n1 -o '%T, %E')"
}
# What Slurm says of a job, when it has ended, and how often it began.
send() {
	local number state
	: >starts
	number=$(sbatch --parsable --chdir=/ --output=/dev/null ./script)
	for _ in $(seq 100); do
		state=$(scontrol -o show job "$number" | grep -oE '(JobState|ExitCode)=[^ ]*' | xargs)
		[[ $state != *PENDING* && $state != *RUNNING* && $state != *COMPLETING* ]] && break
		sleep 0.2
	done
	said="$state, starts: $(wc -l <starts)"
}
trap 'slurmd=${slurmd:-}; clean' EXIT
echo "sbatch: $(sbatch --version)"
printf '#!/bin/sh\necho it >>%s/starts\n' "$tmp" >script
node
send
[[ $said = "JobState=COMPLETED ExitCode=0:0, starts: 0" ]] || changed "without cgroup.conf: $said"
seen "without cgroup.conf: $said"
seen "the node: $(grep -o 'Couldn.t load specified plugin name for proctrack/cgroup.*' node.log | head -n 1)"
kill "$slurmd"
wait "$slurmd" || true
[[ $(sinfo -h -n n1 -o '%T, %E') = "drained, batch job complete failure" ]] || changed "the node is $(sinfo -h -n n1 -o '%T, %E')"
scontrol update nodename=n1 state=resume
echo CgroupPlugin=autodetect >cgroup.conf
node
send
[[ $said = "JobState=COMPLETED ExitCode=0:0, starts: 1" ]] || changed "with cgroup.conf: $said"
seen "with cgroup.conf: $said"

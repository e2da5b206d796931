#!/bin/bash
# A job of Slurm 22.05 (Debian 12) that was sent with --no-requeue starts twice if the controller dies soon after its start: the controller
# that comes after has it as pending, ends it on the node, and starts it anew. Neither start has SLURM_RESTART_COUNT, by which sbatch(1) has a
# job tell a second start from its first: both look the same to the job.
# Needs root: slurmctld, slurmd and munged run, on the loopback interface and for this script only.
. "${0%/*}/lib.sh"
cluster SelectTypeParameters=CR_Core SlurmdParameters=config_overrides SchedulerParameters=batch_sched_delay=0,sched_interval=2
until_node() {
	for _ in $(seq 150); do [[ $(sinfo -h -n n1 -o %T) = "$1" ]] && return; sleep 0.2; done
	changed "the node is $(sinfo -h -n n1 -o '%T, %E'), not $1"
}
controller
slurmd-wlm -D -N n1 -d "$tmp/bookworm/usr/sbin/slurmstepd-wlm" >node.log 2>&1 &
slurmd=$!
trap 'kill $slurmctld $slurmd $munged 2>/dev/null; pkill -f "sleep 30.614" || true; wait; rm -rf "$tmp"' EXIT
until_node idle
echo "sbatch: $(sbatch --version)"
cat >script <<END
#!/bin/sh
echo "job \$SLURM_JOB_ID, count \${SLURM_RESTART_COUNT:-none}" >>$tmp/starts
sleep 30.614
END
# All that was written down before is of an older state.
sleep 6
number=$(sbatch --parsable --no-requeue --chdir=/ --output=/dev/null --job-name=one ./script)
for _ in $(seq 100); do [[ -s starts ]] && break; sleep 0.1; done
[[ -s starts ]] || changed "the job does not start: $(squeue -h -n one -o '%T %r')"
kill -KILL "$slurmctld"
wait "$slurmctld" 2>/dev/null || true
controller
seen "after it was killed, the controller has the job as $(squeue -h -t all -n one -o %T)"
for _ in $(seq 200); do [[ $(wc -l <starts) = 2 ]] && break; sleep 0.2; done
[[ $(sort starts | uniq -c | xargs) = "2 job $number, count none" ]] || changed "starts: $(xargs <starts)"
seen "with --no-requeue it started twice: $(paste -sd '|' starts)"

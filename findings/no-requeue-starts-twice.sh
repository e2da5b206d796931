#!/bin/bash
# A job of Slurm 22.05 (Debian 12) that was sent with --no-requeue starts twice if the controller dies soon after its start: the controller
# that comes after has it as pending, ends it on the node, and starts it anew. Neither start has SLURM_RESTART_COUNT, by which sbatch(1) has a
# job tell a second start from its first: both look the same to the job.
# Needs root: slurmctld, slurmd and munged run, on the loopback interface and for this script only.
. "${0%/*}/lib.sh"
slurm=22.05.8-4+deb12u3 munge=0.5.15-2+deb12u1
fetch bookworm slurmctld=$slurm slurmd=$slurm slurm-client=$slurm slurm-wlm-basic-plugins=$slurm munge=$munge libmunge2=$munge
usr=$tmp/bookworm/usr lib=$tmp/bookworm/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$lib/slurm-wlm:$lib SLURM_CONF=$tmp/slurm.conf PATH=$usr/bin:$usr/sbin:$PATH
mkdir -m 700 munge
mkdir -m 755 state spool
chmod 755 "$tmp"
head -c 1024 /dev/urandom >munge/key
chmod 600 munge/key
munged --foreground --force --socket="$tmp/munge.socket" --key-file=munge/key --log-file=munge/log --pid-file=munge/pid \
	--seed-file=munge/seed >/dev/null 2>&1 &
munged=$!
read -r first second < <(python3 -c 'import socket
both = [socket.socket(), socket.socket()]
for one in both: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in both))')
host=$(hostname)
cat >slurm.conf <<END
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$first
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$tmp/munge.socket
PluginDir=$lib/slurm-wlm
SlurmUser=root
StateSaveLocation=$tmp/state
SlurmdSpoolDir=$tmp/spool
SlurmctldPidFile=$tmp/pid
SlurmdPidFile=$tmp/pid-of-node
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
MailProg=/bin/true
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$second CPUs=2
PartitionName=build Nodes=n1 Default=YES State=UP
END
start() {
	slurmctld-wlm -D >>ctld.log 2>&1 &
	slurmctld=$!
	for _ in $(seq 100); do sinfo >/dev/null 2>&1 && return; sleep 0.2; done
	changed "there is no controller: $(tail -n 2 ctld.log)"
}
until_node() {
	for _ in $(seq 150); do [[ $(sinfo -h -n n1 -o %T) = "$1" ]] && return; sleep 0.2; done
	changed "the node is $(sinfo -h -n n1 -o '%T, %E'), not $1"
}
start
slurmd-wlm -D -N n1 -d "$usr/sbin/slurmstepd-wlm" >node.log 2>&1 &
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
start
seen "after it was killed, the controller has the job as $(squeue -h -t all -n one -o %T)"
for _ in $(seq 200); do [[ $(wc -l <starts) = 2 ]] && break; sleep 0.2; done
[[ $(sort starts | uniq -c | xargs) = "2 job $number, count none" ]] || changed "starts: $(xargs <starts)"
seen "with --no-requeue it started twice: $(paste -sd '|' starts)"

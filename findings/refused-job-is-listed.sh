#!/bin/bash
# sbatch of Slurm 22.05 (Debian 12) refuses a job whose --exclude leaves no node: it exits 1 and prints no number. squeue lists that job all
# the same, by its name, as one that failed (BadConstraints): who looks a submission up by its name finds one that Slurm never took.
# Needs root: slurmctld and munged run, on the loopback interface and for this script only.
. "${0%/*}/lib.sh"
slurm=22.05.8-4+deb12u3 munge=0.5.15-2+deb12u1
fetch bookworm slurmctld=$slurm slurm-client=$slurm slurm-wlm-basic-plugins=$slurm munge=$munge libmunge2=$munge
usr=$tmp/bookworm/usr lib=$tmp/bookworm/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$lib/slurm-wlm:$lib SLURM_CONF=$tmp/slurm.conf PATH=$usr/bin:$usr/sbin:$PATH
mkdir -m 700 munge state spool
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
SlurmctldPidFile=$tmp/pid
SelectType=select/cons_tres
SwitchType=switch/none
MpiDefault=none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
MailProg=/bin/true
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$second
PartitionName=build Nodes=n1 Default=YES State=UP
END
slurmctld-wlm -D >ctld.log 2>&1 &
slurmctld=$!
trap 'kill $slurmctld $munged 2>/dev/null; wait; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do sinfo >/dev/null 2>&1 && break; sleep 0.2; done
sinfo >/dev/null || changed "there is no controller: $(tail -n 2 ctld.log)"
echo "sbatch: $(sbatch --version)"
printf '#!/bin/sh\ntrue\n' >script
code=0
number=$(sbatch --parsable --chdir=/ --output=/dev/null --job-name=refused --exclude=n1 ./script 2>said) || code=$?
[[ $code != 0 && -z $number ]] || changed "sbatch takes it: $number"
listed=$(squeue -h -t all -n refused -o '%j %T %r')
[[ $listed = "refused FAILED BadConstraints" ]] || changed "squeue lists: ${listed:-nothing}"
seen "sbatch exits $code, prints no number and says: $(tail -n 1 said)"
seen "squeue -t all -n refused lists: $listed"

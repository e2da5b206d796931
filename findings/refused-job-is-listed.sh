#!/bin/bash
# sbatch of Slurm 22.05 (Debian 12) refuses a job whose --exclude leaves no node: it exits 1 and prints no number. squeue lists that job all
# the same, by its name, as one that failed (BadConstraints): who looks a submission up by its name finds one that Slurm never took.
# Needs root: slurmctld and munged run, on the loopback interface and for this script only.
. "${0%/*}/lib.sh"
cluster
controller
trap 'kill $slurmctld $munged 2>/dev/null; wait; rm -rf "$tmp"' EXIT
echo "sbatch: $(sbatch --version)"
printf '#!/bin/sh\ntrue\n' >script
code=0
number=$(sbatch --parsable --chdir=/ --output=/dev/null --job-name=refused --exclude=n1 ./script 2>said) || code=$?
[[ $code != 0 && -z $number ]] || changed "sbatch takes it: $number"
listed=$(squeue -h -t all -n refused -o '%j %T %r')
[[ $listed = "refused FAILED BadConstraints" ]] || changed "squeue lists: ${listed:-nothing}"
seen "sbatch exits $code, prints no number and says: $(tail -n 1 said)"
seen "squeue -t all -n refused lists: $listed"

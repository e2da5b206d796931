# shellcheck shell=bash
# Sourced by the findings beside it: public Debian packages of fixed versions in a temporary folder, and valid input to try them with.
set -euo pipefail
export LC_ALL=C.UTF-8 TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 SOURCE_DATE_EPOCH=1735725600
export GIT_AUTHOR_NAME='A Dev' GIT_AUTHOR_EMAIL=dev@example.org GIT_COMMITTER_NAME='A Dev' GIT_COMMITTER_EMAIL=dev@example.org
export DEBFULLNAME='A Dev' DEBEMAIL=dev@example.org
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export HOME=$tmp/home TMPDIR=$tmp
mkdir "$HOME"
cd "$tmp"
echo "host: $(git --version), $(patch --version | head -n 1), $(tar --version | head -n 1)"

# fetch SUITE NAME=VERSION…: unpacks packages of a suite, from the host's own mirror, into $tmp/SUITE
fetch() {
	local suite=$1 apt=$tmp/apt-$1 uri
	shift
	mkdir -p "$apt/lists/partial" "$tmp/$suite/debs"
	uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' | sed -n 's/ [a-z]* main$//p' | head -n 1)
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$apt/sources"
	local options=(-q -q -o Dir::Etc::SourceList="$apt/sources" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$apt/lists"
		-o Dir::Cache="$apt" -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none)
	apt-get "${options[@]}" update >&2
	(cd "$tmp/$suite/debs" && apt-get "${options[@]}" download "$@" >&2)
	local deb
	for deb in "$tmp/$suite/debs"/*.deb; do dpkg-deb -x "$deb" "$tmp/$suite"; done
	echo "$suite: $*"
}

# dpkg_source SUITE ARGUMENT…: the unpacked dpkg-source of a suite
dpkg_source() {
	local suite=$1
	shift
	PERL5LIB=$tmp/$suite/usr/share/perl5 DPKG_DATADIR=$tmp/$suite/usr/share/dpkg perl "$tmp/$suite/usr/bin/dpkg-source" "$@"
}

# elf SUITE PROGRAM ARGUMENT…: a program of a suite with the libraries of that suite
elf() {
	local root=$tmp/$1 program=$2
	shift 2
	"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/$program" "$@"
}

# apt_of SUITE PROGRAM…: $tmp/SUITE-apt with these programs of a suite's apt and methods for files, each with the libraries of its suite
apt_of() {
	local suite=$1 own=$tmp/$1-apt loader=$tmp/$1/usr/lib64/ld-linux-x86-64.so.2 libraries=$tmp/$1/usr/lib/x86_64-linux-gnu program real
	mkdir -p "$own"/{methods,etc/preferences.d}
	for program in "${@:2}" methods/{file,copy,store}; do
		real=$tmp/$suite/usr/bin/$program
		[[ $program != methods/* ]] || real=$tmp/$suite/usr/lib/apt/$program
		if [[ -e $loader ]]; then
			printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$loader" "$libraries" "$real" >"$own/$program"
		else
			printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$real" >"$own/$program"
		fi
		chmod +x "$own/$program"
	done
}

# package: p_1.0.orig.tar.gz and p-1.0 with debian/ in the current folder
package() {
	mkdir -p p-1.0
	printf 'Read me.\n' >p-1.0/README
	printf 'one\ntwo\nthree\n' >p-1.0/file
	printf '#!/bin/sh\n' >p-1.0/run.sh
	tar --owner=0 --group=0 --mtime=@1700000000 --sort=name -czf p_1.0.orig.tar.gz p-1.0
	mkdir -p p-1.0/debian/source p-1.0/debian/patches
	echo '3.0 (quilt)' >p-1.0/debian/source/format
	printf 'p (1.0-1) unstable; urgency=medium\n\n  * Test.\n\n -- A Dev <dev@example.org>  Wed, 01 Jan 2025 10:00:00 +0000\n' >p-1.0/debian/changelog
	printf 'Source: p\nMaintainer: A Dev <dev@example.org>\nStandards-Version: 4.6.2\n\nPackage: p\nArchitecture: all\nDescription: test\n Nothing.\n' >p-1.0/debian/control
	printf '#!/usr/bin/make -f\n' >p-1.0/debian/rules
	chmod +x p-1.0/debian/rules
}

# seen WORDS…: says what was seen
seen() { echo "seen: $*"; }

# changed WORDS…: the behaviour is no longer as told
changed() {
	echo "CHANGED: $*" >&2
	exit 1
}

# cluster LINE…: slurm.conf of a cluster with one node, n1, on the loopback interface, and lines of one's own; Slurm 22.05 of bookworm is
# unpacked, and munged runs, whose process is $munged
cluster() {
	local slurm=22.05.8-4+deb12u3 munge=0.5.15-2+deb12u1 usr=$tmp/bookworm/usr lib=$tmp/bookworm/usr/lib/x86_64-linux-gnu first second host
	fetch bookworm slurmctld=$slurm slurmd=$slurm slurm-client=$slurm slurm-wlm-basic-plugins=$slurm munge=$munge libmunge2=$munge
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
	cat >slurm.conf <<-END
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
		SwitchType=switch/none
		MpiDefault=none
		TaskPlugin=task/none
		ProctrackType=proctrack/linuxproc
		MailProg=/bin/true
		NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$second CPUs=2
		PartitionName=build Nodes=n1 Default=YES State=UP
	END
	printf '%s\n' "$@" >>slurm.conf
}

# controller: starts slurmctld, whose process is $slurmctld, and waits until it answers
controller() {
	slurmctld-wlm -D >>ctld.log 2>&1 &
	slurmctld=$!
	for _ in $(seq 100); do sinfo >/dev/null 2>&1 && return; sleep 0.2; done
	changed "there is no controller: $(tail -n 2 ctld.log)"
}

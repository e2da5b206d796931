# shellcheck shell=bash
# Clean Debian roots to install packages in: made once from this machine's own mirrors, kept as tarballs in the cache, and
# unpacked into memory for each use.

# The machine's own sources, under another release's name; what never is a release has neither updates nor a security suite.
sources_for() {
	local host
	host=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v host="$host" -v other="$1" '$3 == host || other != "sid" && ($3 == host "-updates" || $3 == host "-security") {
			sub(host, other, $3); print }' | sort -u
}

# How this machine reaches its mirrors: proxies and the like, and whether their dates count.
transport() { apt-config dump Acquire | grep -iE '^Acquire::(http|https|Retries|ForceIPv|Check-)' | grep -v '""' || true; }

# Makes a release's root tarball unless it is there; one with a name of its own and more packages, if they are given.
make_root() {
	local release=$1 tar=$CACHE/roots/${2:-$1}.tar
	local packages=(ca-certificates systemd-sysv debian-archive-keyring "${@:3}")
	[ ! -s "$tar" ] || return 0
	mkdir -p "$CACHE/roots"
	transport >"$CACHE/roots/transport"
	sources_for "$release" | quietly_from mmdebstrap --mode=root --variant=minbase --format=tar --skip=output/dev \
		--include="${packages[*]}" --aptopt="$CACHE/roots/transport" "$release" "$tar.new" -
	mv "$tar.new" "$tar"
}

# As quietly, with standard input.
quietly_from() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 || status=$?
	[ "$status" = 0 ] || { echo "failed: $*" >&2; tail -n 60 "$log" >&2; }
	rm -f "$log"
	return "$status"
}

# A /dev of its own: what runs in the root may add to it.
make_devices() {
	local dev=$1 name
	mount -t tmpfs -o mode=755,size=64m dev "$dev"
	for name in null zero full random urandom tty; do
		touch "$dev/$name"
		mount --bind "/dev/$name" "$dev/$name"
	done
	mkdir "$dev/pts" "$dev/shm"
	chmod 1777 "$dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dev/pts"
	ln -s pts/ptmx "$dev/ptmx"
	ln -s /proc/self/fd "$dev/fd"
	for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "$dev/${name%:*}"; done
}

# Unpacks a release, or its root of this name, into a directory, in memory, with what a container has. For use in a mount namespace
# of its own.
unpack_root() {
	local release=$1 root=$2 name=${3:-$1}
	mkdir -p "$root"
	mount -t tmpfs -o mode=755 root "$root"
	tar -C "$root" -xf "$CACHE/roots/$name.tar"
	mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/cache/apt/archives" "$CACHE/roots/archives-$release"
	mount -t proc proc "$root/proc"
	make_devices "$root/dev"
	# Packages are downloaded once.
	mount --bind "$CACHE/roots/archives-$release" "$root/var/cache/apt/archives"
	rm -f "$root"/etc/apt/apt.conf.d/*docker-clean* "$root/etc/resolv.conf"
	cp /etc/resolv.conf /etc/hosts "$root/etc/"
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
}

# Runs a command in the root that is $R.
inside() { chroot "$R" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }

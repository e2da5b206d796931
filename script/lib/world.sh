# shellcheck shell=bash
# The world: a private mount and process namespace in which everything is installed where the package would put it,
# and nothing of it is on the host. See script/lib/README.md.

# Our programs, and where the package has them.
# shellcheck disable=SC2034 # Others read it.
declare -A PROGRAMS=([invirt-build]=/usr/bin [invirtibuilderd]=/usr/sbin [build-sandbox]=/usr/libexec/invirtibuilder
	[testbed-run]=/usr/libexec/invirtibuilder [invirtibuilder-api]=/usr/sbin [invirtibuilder-web]=/usr/sbin
	[build-relay]=/usr/libexec/invirtibuilder [invirtibuilder-node]=/usr/libexec/invirtibuilder-node)

# The controllers of which a world has groups of its own.
CONTROLLERS=(memory pids freezer)

# Version 1 control groups of this process, where they can be written: those of these controllers.
cgroups() {
	local controller path
	for controller; do
		path=$(awk -F: -v c="$controller" '$2 == c { print $3 }' /proc/self/cgroup)
		path=/sys/fs/cgroup/$controller${path%/}
		if [ -w "$path/cgroup.procs" ]; then echo "$path"; fi
	done
}

# Removes a control group and those in it. Nothing runs in them any more; what was killed may need a moment to be gone.
remove_groups() {
	for _ in $(seq 50); do
		[ -d "$1" ] || return 0
		find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
	done
}

# Removes what a world had.
leave_cgroups() {
	local dir
	for dir in $(cgroups "${CONTROLLERS[@]}"); do remove_groups "$dir/$1"; done
}

# Runs a command in a new world and returns its exit status. Everything in the world ends with the command.
# IB_PROGRAMS: directory of our programs. IB_DATA=disk: the state is kept on disk and not in memory. IB_WORLD_NUMBER: worlds of different
# numbers can stand beside each other; what they change of the cache is lost. IB_NET=own: a network of its own, which leads nowhere.
in_world() {
	[ "$(id -u)" = 0 ] || die "the world needs root: it mounts, and adds the service's user"
	mkdir -p "$CACHE/chroots"
	local scratch='' status=0 net=()
	[ -z "${IB_NET:-}" ] || net=(--net --uts)
	if [ "${IB_DATA:-memory}" = disk ]; then
		scratch=$(mktemp -d "$CACHE/data.XXXXXX")
	fi
	IB_CGROUP=world-$$ IB_DATA_DIR=$scratch setpriv --pdeathsig KILL \
		unshare --mount --pid --fork --kill-child --mount-proc "${net[@]}" -- \
		"$ROOT/script/lib/world-init" "$@" || status=$?
	[ -z "$scratch" ] || rm -rf "$scratch"
	leave_cgroups "world-$$"
	return "$status"
}

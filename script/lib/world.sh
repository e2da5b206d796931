# shellcheck shell=bash
# The world: a private mount and process namespace in which everything is installed where the package would put it,
# and nothing of it is on the host. See script/lib/README.md.

# Runs a command in a new world and returns its exit status. Everything in the world ends with the command.
# IB_PROGRAMS: directory of our two programs. IB_DATA=disk: the state is kept on disk and not in memory.
in_world() {
	[ "$(id -u)" = 0 ] || die "the world needs root: it mounts, and adds the service's user"
	mkdir -p "$CACHE/chroots"
	local scratch='' status=0
	if [ "${IB_DATA:-memory}" = disk ]; then
		scratch=$(mktemp -d "$CACHE/data.XXXXXX")
	fi
	IB_DATA_DIR=$scratch setpriv --pdeathsig KILL \
		unshare --mount --pid --fork --kill-child --mount-proc -- \
		"$ROOT/script/lib/world-init" "$@" || status=$?
	[ -z "$scratch" ] || rm -rf "$scratch"
	return "$status"
}

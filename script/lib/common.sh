# shellcheck shell=bash
# What every command here starts with: where things are, and how it speaks.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${IB_CACHE:-${HOME:-/root}/.cache/invirtibuilder}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
DISTRO=${IB_DISTRO:-bookworm}
export ROOT CACHE TARGET DISTRO

if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' PLAIN=$'\e[0m'; else BOLD='' DIM='' PLAIN=''; fi

# A step that the reader should see.
say() { printf '%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }

# A command that is run, as the reader would type it.
show() { printf '%s$ %s%s\n' "$DIM" "$*" "$PLAIN"; }

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Runs a command; its output is shown only if it fails.
quietly() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	[ "$status" = 0 ] || { echo "failed: $*" >&2; tail -n 60 "$log" >&2; }
	rm -f "$log"
	return "$status"
}

# Waits until a command succeeds, at most so many seconds.
await() {
	local seconds=$1 end
	shift
	end=$((SECONDS + seconds))
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# shellcheck shell=bash
# Debian's own source packages, from the mirror that this machine uses itself. Only for use inside a world.

mirror() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$DISTRO" '$1 == "Debian" && $2 == suite { print $3; exit }'
}

know_sources() {
	local uri list=/etc/apt/sources.list.d/world-sources.list
	[ ! -e "$list" ] || return 0
	uri=$(mirror)
	if [ -z "$uri" ]; then
		quietly apt-get update
		uri=$(mirror)
	fi
	[ -n "$uri" ] || die "this machine's apt knows no Debian $DISTRO: add it to /etc/apt/sources.list"
	echo "deb-src $uri $DISTRO main" >"$list"
	quietly apt-get update
}

# Downloads source packages into a directory.
debian_sources() {
	local dir=$1
	shift
	know_sources
	mkdir -p "$dir"
	(cd "$dir" && quietly apt-get -o APT::Sandbox::User=root source --download-only "$@")
}

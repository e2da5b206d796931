# shellcheck shell=bash
# Debian's own source packages, from the mirror that this machine uses itself. Only for use inside a world.

SOURCES=$WORLD/sources

mirror() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == "Debian" && $2 == suite { print $3; exit }'
}

# apt with a list of its own, which knows the distribution's source packages and nothing else.
apt_sources() {
	quietly apt-get -q -o Dir::Etc::sourcelist="$SOURCES/list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$SOURCES/lists" -o APT::Sandbox::User=root "$@"
}

know_sources() {
	local uri
	[ ! -e "$SOURCES/list" ] || return 0
	uri=$(mirror)
	if [ -z "$uri" ]; then
		quietly apt-get update
		uri=$(mirror)
	fi
	[ -n "$uri" ] || die "this machine's apt knows no mirror of Debian: add one to /etc/apt/sources.list"
	mkdir -p "$SOURCES/lists/partial"
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $DISTRO main contrib non-free" >"$SOURCES/list"
	apt_sources update
}

# Downloads source packages into a directory.
debian_sources() {
	local dir=$1
	shift
	know_sources
	mkdir -p "$dir"
	(cd "$dir" && apt_sources source --download-only "$@")
}

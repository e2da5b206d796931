# shellcheck shell=bash
# Sourced by the packages beside it, which need what new releases of Debian brought: "NAME DIR" makes a package's Git repository at DIR, whose
# branch main somebody submits. A package that says "Since: RELEASE" is for that release of Debian and for later ones.
# shellcheck source=tests/layouts/lib.sh
. "${BASH_SOURCE[0]%/*}/../layouts/lib.sh"

# control NAME BUILD-DEPENDS FIELD…: the source stanza
control() {
	local name=$1 depends=$2
	shift 2
	mkdir -p debian/source
	echo '3.0 (native)' >debian/source/format
	printf '%s\n' "Source: $name" 'Section: misc' 'Priority: optional' 'Maintainer: A Dev <dev@example.org>' 'Standards-Version: 4.7.2' \
		"Build-Depends: $depends" "$@" >debian/control
}

# binary NAME ARCHITECTURE FIELD…: a binary package
binary() {
	local name=$1 architecture=$2
	shift 2
	# shellcheck disable=SC2016 # dpkg-gencontrol expands these
	printf '%s\n' '' "Package: $name" "Architecture: $architecture" "$@" 'Depends: ${misc:Depends}, ${shlibs:Depends}' \
		'Description: test package' ' Nothing of use.' >>debian/control
}

# rules LINE…: debian/rules that leaves everything else to debhelper
rules() {
	printf '%s\n' '#!/usr/bin/make -f' '%:' "$@" >debian/rules
	chmod +x debian/rules
}

# program NAME: a program in C that says hello, and how it is made
program() {
	printf '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n' >"$1.c"
	# shellcheck disable=SC2016 # make expands it
	printf 'all: %s\ninstall:\n\tinstall -D -t $(DESTDIR)/usr/bin %s\n' "$1" "$1" >Makefile
}

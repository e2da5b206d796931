# shellcheck shell=bash
# Sourced by the layouts beside it: "NAME DIR" makes a package's Git repository at DIR, whose branch main somebody submits.
# They need git-buildpackage, dgit, git-debrebase, devscripts (with libgit-wrapper-perl, liblist-compare-perl and libstring-shellquote-perl, for git deborig;
# newer Debian has that in git-debpush), pristine-tar, quilt and gpg.
# Everything but a signing key has a fixed date and author, nothing needs a network, and nothing stays behind outside of DIR.
set -euo pipefail
umask 022
unset "${!GIT_@}" "${!GBP_@}" "${!DEB_@}" "${!QUILT_@}"
export LC_ALL=C.UTF-8 TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME='A Dev' GIT_AUTHOR_EMAIL=dev@example.org GIT_AUTHOR_DATE='2025-01-01T10:00:00Z'
export GIT_COMMITTER_NAME='A Dev' GIT_COMMITTER_EMAIL=dev@example.org GIT_COMMITTER_DATE='2025-01-01T10:00:00Z'
export DEBFULLNAME='A Dev' DEBEMAIL=dev@example.org EMAIL=dev@example.org SOURCE_DATE_EPOCH=1735725600
[[ -n ${1:-} ]] || { echo "usage: ${0##*/} DIR" >&2; exit 64; }
mkdir -p "$1"
work=$(mktemp -d)          # tarballs, keys and whatever else belongs to no commit
trap 'rm -rf "$work"' EXIT
export HOME=$work/home GNUPGHOME=$work/gnupg
mkdir -p "$HOME"
mkdir -m 700 "$GNUPGHOME"
cd "$1"
git init -q -b main .

# changelog NAME VERSION
changelog() {
	mkdir -p debian
	printf '%s (%s) unstable; urgency=medium\n\n  * Test.\n\n -- A Dev <dev@example.org>  Wed, 01 Jan 2025 10:00:00 +0000\n' "$1" "$2" >debian/changelog
}

# packaging NAME VERSION FORMAT: debian/ of a package that ships its own source, without debhelper
packaging() {
	mkdir -p debian/source
	echo "$3" >debian/source/format
	changelog "$1" "$2"
	cat >debian/control <<-END
		Source: $1
		Section: misc
		Priority: optional
		Maintainer: A Dev <dev@example.org>
		Standards-Version: 4.6.2
		Rules-Requires-Root: no

		Package: $1
		Architecture: all
		Description: test package
		 Nothing of use.
	END
	cat >debian/rules <<'END'
#!/usr/bin/make -f
clean build build-arch build-indep:
binary-arch:
binary-indep:
	rm -rf ../root && mkdir -p ../root/DEBIAN ../root/usr/share/files
	cp -r . ../root/usr/share/files/
	dpkg-gencontrol -p$$(sed -n 's/^Package: //p' debian/control | head -n 1) -P../root
	dpkg-deb --root-owner-group --build ../root ..
binary: binary-indep binary-arch
END
	chmod +x debian/rules
}

# sources DIR: what upstream has written
sources() {
	mkdir -p "$1/src"
	printf 'Read me.\n' >"$1/README"
	printf 'int main(void)\n{\n\treturn 0;\n}\n' >"$1/src/main.c"
	printf '#!/bin/sh\nexec true\n' >"$1/run.sh"
	chmod +x "$1/run.sh"
}

# tarball FILE TREE TOP…: packs the top directories (or files) of TREE
tarball() {
	local file=$1 tree=$2
	shift 2
	tar -C "$tree" --owner=0 --group=0 --numeric-owner --mtime=@1700000000 --sort=name -caf "$file" "$@"
}

# orig NAME [TREE]: upstream's tarball NAME_1.0.orig.tar.gz of TREE (or of what sources writes); its path is in $orig
orig() {
	orig=$work/$1_1.0.orig.tar.gz
	mkdir -p "$work/orig"
	if [[ -n ${2:-} ]]; then cp -a "$2" "$work/orig/$1-1.0"; else sources "$work/orig/$1-1.0"; fi
	tarball "$orig" "$work/orig" "$1-1.0"
}

# quietly COMMAND…: what it says is seen if it fails
quietly() {
	"$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; return 1; }
}

commit() {
	git add -A -f
	git commit -q -m "$1"
}

# unpatched NAME [FORMAT]: upstream's files and debian/ in one commit, as most people keep it, and the tarball on the branch pristine-tar
unpatched() {
	sources .
	orig "$1"
	packaging "$1" 1.0-1 "${2:-3.0 (quilt)}"
	commit 'Upstream 1.0 with packaging'
	quietly pristine-tar commit "$orig" main
}

# as_patch NAME: turns the changes outside debian/ into a patch of the series, and leaves them in the tree
as_patch() {
	mkdir -p debian/patches
	git add -A -f . ':!debian'
	git diff --cached --no-renames --src-prefix=a/ --dst-prefix=b/ >"debian/patches/$1"
	echo "$1" >>debian/patches/series
}

# undo: makes everything outside debian/ as HEAD has it
undo() {
	git reset -q
	git checkout -q HEAD -- . ':!debian'
	git clean -q -f -d -x -e debian
}

# sums FILE…: binds tarballs to the commit
sums() {
	mkdir -p debian/upstream
	for file; do (cd "$(dirname "$file")" && sha256sum "$(basename "$file")"); done >>debian/upstream/sha256sums
}

# key: makes a key of upstream's and puts its public half where uscan(1) and dpkg-source(1) look for it
key() {
	gpg --batch --quiet --passphrase '' --quick-generate-key 'Up Stream <up@example.org>' ed25519 sign never 2>/dev/null
	mkdir -p debian/upstream
	gpg --batch --armor --export up@example.org >debian/upstream/signing-key.asc
}

# sign FILE: upstream's detached signature of a file, FILE.asc
sign() {
	gpg --batch --quiet --armor --detach-sign --output "$1.asc" "$1"
}

# shellcheck shell=bash
# Installs what is missing, and nothing else: Debian packages, and tools from the Rust registry.

declare -A NEEDS=(
	[build]="build-essential clang libclang-dev libkrb5-dev liblzma-dev libpcre2-dev libseccomp-dev libzstd-dev nettle-dev pkg-config"
	[run]="apt-utils bubblewrap ca-certificates curl debian-archive-keyring diffoscope-minimal dpkg-dev e2fsprogs fakeroot git iproute2 gnupg gpgv
		arch-test jq krb5-admin-server krb5-kdc krb5-pkinit krb5-user libnet-remctl-perl mmdebstrap openssh-client openssh-server
		openssl perl pristine-tar procps sudo
		remctl-client remctl-server sbuild schroot sqlite3 uidmap util-linux xz-utils zstd"
	[demo]="devscripts git-buildpackage libdistro-info-perl"
	[layouts]="devscripts dgit git-buildpackage git-debrebase gpg libgit-wrapper-perl liblist-compare-perl libstring-shellquote-perl
		pristine-tar quilt"
	[lint]="prometheus shellcheck systemd"
	[package]="debhelper dpkg-dev lintian man-db po-debconf"
	[foreign]="qemu-user-static"
	[readers]="nginx-light"
	[clients]="apt-mirror chromium chromium-driver devscripts python3 reprepro"
	[vm]="e2fsprogs qemu-system-x86 qemu-utils"
	[slurm]="libfaketime munge slurm-client slurmctld slurmd"
	[bench]="aptly reprepro"
)

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs those Debian packages of the named groups that are missing; asks nothing and starts no service.
install_needs() {
	local group package missing=() policy=/usr/sbin/policy-rc.d ours='' status=0
	for group; do
		for package in ${NEEDS[$group]}; do installed "$package" || missing+=("$package"); done
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	# What is made of one source works in one version: a machine may have one of the two from elsewhere.
	if [[ " ${missing[*]} " == *" qemu-system-x86 "* ]]; then missing+=("qemu-utils/$(. /etc/os-release && echo "$VERSION_CODENAME")"); fi
	[ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
	say "installing ${missing[*]}"
	if [ ! -e "$policy" ]; then
		ours=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	{ apt_get update && apt_get install --no-install-recommends --allow-downgrades "${missing[@]}"; } || status=$?
	[ -z "$ours" ] || rm -f "$policy"
	return "$status"
}

apt_get() { quietly env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@"; }

# Installs Debian's own packages of Rust if there is no cargo. Debian 12 has a newer one under other names.
need_cargo() {
	local packages=(cargo rustc) oldest version
	command -v cargo >/dev/null && return 0
	[ "$(id -u)" = 0 ] || die "cargo is missing, and only root can install it: Rust $(oldest_rust) or later is needed"
	apt_get update
	if apt-cache show cargo-web >/dev/null 2>&1; then packages=(cargo-web rustc-web); fi
	oldest=$(oldest_rust)
	version=$(apt-cache show --no-all-versions "${packages[0]}" | sed -n 's/^Version: //p')
	dpkg --compare-versions "$version" ge "$oldest" ||
		die "cargo is missing, and this Debian's is too old: install Rust $oldest or later from https://rustup.rs"
	say "installing ${packages[*]}"
	apt_get install --no-install-recommends "${packages[@]}"
}

oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# The same for what checks style, if cargo is Debian's own.
need_cargo_style() {
	local packages=(rustfmt rust-clippy)
	cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return 0
	if installed cargo-web; then packages=(rustfmt-web rust-web-clippy); fi
	say "installing ${packages[*]}"
	apt_get install --no-install-recommends "${packages[@]}"
}

# Installs a program of the Rust registry if it is not there. It runs for seconds, so it is not optimised: that would take minutes.
need_cargo_tool() {
	command -v "$1" >/dev/null && return 0
	say "installing $1 (it is compiled: this takes minutes)"
	quietly env CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug "$1"
}

# axe-core, which looks for what keeps people from using a page: tests only. Its version and its bytes are fixed.
need_axe() {
	local version=4.14.1 sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 dir
	[ "$(cat "$CACHE/axe/version" 2>/dev/null)" != "$version" ] || return 0
	command -v npm >/dev/null || apt_get install --no-install-recommends npm
	say "fetching axe-core $version"
	dir=$(mktemp -d)
	(cd "$dir" && quietly npm pack --silent "axe-core@$version")
	echo "$sum  $dir/axe-core-$version.tgz" | sha256sum --quiet --check || die "axe-core $version is not what it was"
	mkdir -p "$CACHE/axe"
	tar -xzf "$dir/axe-core-$version.tgz" -C "$CACHE/axe" --strip-components=1 package/axe.min.js
	echo "$version" >"$CACHE/axe/version"
	rm -r "$dir"
}

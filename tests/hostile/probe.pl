# Tries to get out of wherever it runs, and prints "probe NAME: OPEN" or "probe NAME: shut" for each way that it tried.
# It is the maintainer script of a build dependency, is run by debian/rules, and by the story itself, outside, where every
# way that is not said to be for sandboxes only has to be open.
#
# The story puts %at in front: what there is outside.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(getaddrinfo pack_sockaddr_un SOCK_STREAM AF_UNIX);

$| = 1;

sub slurp { open(my $file, '<', $_[0]) or return ''; return join '', <$file> }

sub tcp { IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => $_[1], Timeout => 5) }

# The status of one request to the proxy.
sub proxy {
    my ($request) = @_;
    my $to = tcp('127.0.0.1', 3142) or return 'unreachable';
    local $SIG{ALRM} = sub { die "late\n" };
    my $line = eval {
        alarm 60;
        print $to "$request HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        scalar <$to>;
    };
    alarm 0;
    return ($line // '') =~ m{^HTTP/1.1 (\d+)} ? $1 : 'nothing';
}

# Roots that can be seen: this one, those of all processes, and the one that a chroot can be left for.
my @roots = ('');
push @roots, map { "$_/root" } glob '/proc/[0-9]*';
if ($> == 0 && !$at{outside}) {
    my $pid = open(my $child, '-|') // die;
    if (!$pid) {
        mkdir '/leave';
        chroot '/leave';
        chdir '..' for 1 .. 100;
        chroot '.';
        print "$_\n" for grep { -e $_ } $at{file}, $at{other}, glob("/work/*"), '/.old';
        exit 0;
    }
    my $seen = join '', <$child>;
    close $child;
    print "beyond the chroot: ", join(' ', split /\n/, $seen), "\n";
    try('leaving-the-chroot', sub { $seen =~ /\Q$at{file}\E|\Q$at{other}\E/ });
}

sub try {
    my ($name, $way) = @_;
    my $open = eval { $way->() };
    print "probe $name: ", ($open ? 'OPEN' : 'shut'), "\n";
}

sub readable {
    my ($path) = @_;
    for my $root (@roots) {
        return 1 if slurp("$root$path") =~ /\S/;
    }
    return 0;
}

try('loopback', sub { tcp('127.0.0.1', $at{port}) });
try('abstract-socket', sub {
    socket(my $to, AF_UNIX, SOCK_STREAM, 0) or return 0;
    connect($to, pack_sockaddr_un("\0$at{abstract}"));
});
try('elsewhere', sub { tcp($at{address}, 80) });
try('names', sub { my ($error, @found) = getaddrinfo($at{host}, 'http'); !$error && @found });
try('file', sub { readable($at{file}) });
try('other-build', sub { readable($at{other}) });
try('service-secret', sub { readable($at{secret}) });
try('keyring', sub { my ($type, $key) = ('user', $at{key}); syscall(249, $type, $key, 0, 0) > 0 });
try('processes', sub {
    grep { slurp($_) =~ /krb5kdc|remctld/ } glob '/proc/[0-9]*/cmdline';
});
try('environment', sub {
    grep { slurp($_) =~ /\Q$at{variable}\E/ } glob '/proc/[0-9]*/environ';
});
try('privileges', sub { open(my $file, '<', '/proc/self/status'); !grep { /^NoNewPrivs:\s*1/ } <$file> });
try('sysctl', sub { open(my $file, '>>', '/proc/sys/kernel/panic') });
unless ($at{outside}) {
    try('device', sub { system('mknod /tmp/device b 254 0 2>/dev/null') == 0 && open(my $file, '<', '/tmp/device') });
    try('archive', sub {
        system('mount -o remount,bind,rw /archive 2>/dev/null');
        open(my $file, '>', '/archive/dists/planted');
    });
    try('chroot-tarball', sub { grep { open(my $file, '+<', "$_/chroot.tar") } @roots });
    try('post', sub { proxy("POST http://$at{host}/debian/README") =~ /^[23]/ });
    try('tunnel', sub { proxy("CONNECT 127.0.0.1:$at{port}") =~ /^[23]/ });
    try('other-mirror', sub { proxy("GET http://127.0.0.1:$at{port}/debian/README") =~ /^[23]/ });
    try('upwards', sub { proxy("GET http://$at{host}/debian/../README") =~ /^[23]/ });
    # The way that apt goes: open for maintainer scripts, and for nobody later.
    print "mirror: ", proxy("GET http://$at{host}/debian/dists/$at{distro}/InRelease"), "\n";
}
print "probes done\n";

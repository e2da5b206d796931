# The agent of a build's virtual machine, and its first process: runs commands, and carries their streams and apt's connections
# over one port. src/build/machine/frame.rs says what is spoken there. It uses what perl-base has and nothing more, and has all of it
# loaded before a build can change any.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR);
use Fcntl qw(F_GETFL F_SETFL O_CREAT O_NONBLOCK O_RDWR O_RDONLY O_TRUNC O_WRONLY);
use POSIX ();
use Socket qw(AF_INET SHUT_RD SHUT_WR SO_REUSEADDR SOCK_DGRAM SOCK_STREAM SOL_SOCKET inet_aton pack_sockaddr_in);

# Bytes of a stream that are under way at a time; frame.rs has the same.
use constant WINDOW => 1 << 18;
# Bytes of one frame.
use constant PIECE => 1 << 15;
# With so much waiting for the port, nothing more is read.
use constant ENOUGH => 1 << 19;
# Connections of apt at a time, and the port that they come to.
use constant MOST => 32;
use constant PORT => 3142;
# Ids of connections have this bit; those of commands have not.
use constant TUNNEL => 0x8000_0000;
# Seconds that the loop waits, and clock ticks between two looks at what is used up.
use constant PACE => 0.2;
use constant TICKS => 20;
# With fewer bytes free, no process can write what it wants to write.
use constant LEFT => 1 << 20;
# Processes of ours beside those of a command.
use constant OURS => 16;
# Exit status of what could not be started, by convention.
use constant NOT_STARTED => 125;

# Numbers of system calls that perl has no function for, on x86_64.
my %SYSTEM = (mount => 165, umount2 => 166, unshare => 272, mknod => 133, prctl => 157, reboot => 169, statfs => 137);
# Flags of unshare(2) and mount(2), and an operation of prctl(2).
my ($NEWNS, $NEWIPC, $NEWPID, $NEWNET) = (0x0002_0000, 0x0800_0000, 0x2000_0000, 0x4000_0000);
my ($RDONLY, $NOSUID, $NODEV, $NOEXEC, $REMOUNT, $BIND) = (1, 2, 4, 8, 32, 4096);
my ($PDEATHSIG, $NO_NEW_PRIVS) = (1, 38);

my ($port, $in, $out) = (undef, '', '');
my (%commands, %tunnels, %words, $listener, $group, $ready);
my ($next, %told) = (0);

sub call { my ($name, @args) = @_; return syscall($SYSTEM{$name}, @args) >= 0 }
sub slurp { my ($path) = @_; open(my $file, '<', $path) or return ''; local $/; return scalar(<$file>) // '' }
sub unblock { my ($file) = @_; fcntl($file, F_SETFL, fcntl($file, F_GETFL, 0) | O_NONBLOCK) }
sub again { $! == EAGAIN || $! == EINTR }

sub mounts {
    my ($what, $where, $kind, $flags, $options) = @_;
    call('mount', $what, $where, $kind, $flags, $options // 0) or die "cannot mount $where: $!\n";
}

# --- frames

sub frame {
    my ($kind, $id, $stream, $text) = @_;
    $text //= '';
    $out .= pack('a1 C N N', $kind, $stream, $id, length $text) . $text;
}

sub credit { my ($id, $stream, $count) = @_; frame('C', $id, $stream, pack('N', $count)) }

sub heard {
    while (length $in >= 10) {
        my ($kind, $stream, $id, $length) = unpack('a1 C N N', $in);
        last if length $in < 10 + $length;
        substr($in, 0, 10, '');
        handle($kind, $id, $stream, substr($in, 0, $length, ''));
    }
}

sub handle {
    my ($kind, $id, $stream, $text) = @_;
    my $channel = $commands{$id} // $tunnels{$id};
    if ($kind eq 'F') { my ($path, $rest) = split /\0/, $text, 2; put($path, $rest, $stream) }
    elsif ($kind eq 'G') { set_up(split / /, $text); $ready = 1; frame('Y', 0, 0) }
    elsif ($kind eq 'W') { $words{$id} .= $text }
    elsif ($kind eq 'R') { start($id, $stream, delete $words{$id}) }
    # What is finished here may not be so there yet.
    elsif (!$channel) { return }
    elsif ($kind eq 'D') { $channel->{waiting} .= $text }
    elsif ($kind eq 'E') { $channel->{ending} = 1 }
    elsif ($kind eq 'C') { $channel->{from}{$stream}{credit} += unpack('N', $text) if $channel->{from}{$stream} }
    elsif ($kind eq 'X') { close_from($channel, $stream) }
}

# --- what the image becomes

sub put {
    my ($path, $text, $more) = @_;
    return append("/$path", $text) if $more;
    my $dir = '';
    for my $part (split m{/}, $path =~ s{/[^/]*$}{}r) { $dir .= "/$part"; mkdir $dir, 0755 }
    unlink "/$path";
    sysopen(my $file, "/$path", O_WRONLY | O_CREAT | O_TRUNC, 0644) or die "cannot write /$path: $!\n";
    syswrite($file, $text) // die "cannot write /$path: $!\n";
    chmod 0644, "/$path";
}

sub append {
    my ($path, $text) = @_;
    open(my $file, '>>', $path) or die "cannot write $path: $!\n";
    print $file $text;
    close $file or die "cannot write $path: $!\n";
}

# The image knows the users that sbuild asks it for, and has the directories that they need, as testbed/root.rs has it.
sub know_the_builder {
    my ($builder) = @_;
    my ($passwd, $group) = map { slurp("/etc/$_") } qw(passwd group);
    my %taken = map { (split /:/)[2] // '' => 1 } split /\n/, "$passwd\n$group";
    my $id = 1000;
    $id++ while $taken{$id};
    # A file that ends in the midst of a line is still one of lines.
    append('/etc/passwd', "\n") if $passwd =~ /[^\n]\z/;
    append('/etc/group', "\n") if $group =~ /[^\n]\z/;
    append('/etc/group', "sbuild:x:$id:\n") unless $group =~ /^sbuild:/m;
    for my $name ('sbuild', $builder) {
        append('/etc/passwd', "$name:x:$id:$id\::/var/lib/sbuild:/bin/sh\n") unless $passwd =~ /^\Q$name\E:/m;
    }
    mkdir $_ for '/build', '/var/lib/sbuild';
    chown $id, $id, '/build';
}

# The devices that every build has, and no others.
sub make_devices {
    call('umount2', '/dev', 2);
    mounts('dev', '/dev', 'tmpfs', $NOSUID | $NOEXEC, 'mode=0755');
    my %number = (null => 0x103, zero => 0x105, full => 0x107, random => 0x108, urandom => 0x109, tty => 0x500);
    umask 0;
    for my $name (keys %number) {
        call('mknod', "/dev/$name", 0020666, $number{$name}) or die "cannot make /dev/$name: $!\n";
    }
    # The testbed wants one.
    call('mknod', '/dev/console', 0020666, $number{null});
    umask 022;
    mkdir "/dev/$_" for qw(pts shm);
    chmod 01777, '/dev/shm';
    mounts('devpts', '/dev/pts', 'devpts', $NOSUID | $NOEXEC, 'newinstance,ptmxmode=0666,mode=0620,gid=5');
    my %link = (ptmx => 'pts/ptmx', fd => '/proc/self/fd');
    @link{qw(stdin stdout stderr)} = map { "/proc/self/fd/$_" } 0 .. 2;
    symlink $link{$_}, "/dev/$_" for keys %link;
}

# Commands are in a control group; what is used of it is read over descriptors, as its directory is hidden again.
sub make_group {
    my ($memory, $processes) = @_;
    my $dir = '/sys/fs/cgroup';
    mounts('cgroup2', $dir, 'cgroup2', 0);
    spew("$dir/cgroup.subtree_control", '+memory +pids');
    mkdir "$dir/build" or die "cannot make a cgroup: $!\n";
    spew("$dir/build/memory.max", $memory);
    spew("$dir/build/pids.max", $processes + OURS);
    sysopen(my $procs, "$dir/build/cgroup.procs", O_WRONLY) or die "cannot open a cgroup: $!\n";
    sysopen(my $events, "$dir/build/pids.events", O_RDONLY) or die "cannot open a cgroup: $!\n";
    $group = { procs => $procs, events => $events };
    call('umount2', $dir, 2);
    call('umount2', '/sys', 2);
}

# The image's file system is made to fill the disk, which is as large as a build's may be.
sub grow {
    my ($bytes) = @_;
    sysopen(my $root, '/', O_RDONLY) or die "cannot open /: $!\n";
    my $size = (unpack 'q2', room())[1] or die "cannot look at /: $!\n";
    my $blocks = pack('Q', int($bytes / $size));
    # EXT4_IOC_RESIZE_FS
    ioctl($root, 0x4008_6610, $blocks) or die "the image cannot be made larger: $!\n";
}

# The kernel writes to the very string that it is given.
sub room { my ($path, $buffer) = ('/', "\0" x 256); syscall($SYSTEM{statfs}, $path, $buffer) == 0 ? $buffer : '' }

sub loopback {
    socket(my $socket, AF_INET, SOCK_DGRAM, 0) or die "no socket: $!\n";
    # SIOCSIFFLAGS with IFF_UP and IFF_RUNNING
    my $request = pack('a16 s x22', 'lo', 0x41);
    ioctl($socket, 0x8914, $request) or die "cannot start the loopback interface: $!\n";
}

sub set_up {
    my ($memory, $processes, $bytes, $builder) = @_;
    spew('/proc/self/oom_score_adj', -1000);
    setpriority(0, 0, -10);
    spew('/proc/sys/kernel/hostname', 'build');
    make_group($memory, $processes);
    make_devices();
    grow($bytes);
    know_the_builder($builder);
    loopback();
    socket($listener, AF_INET, SOCK_STREAM, 0) or die "no socket: $!\n";
    setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
    my $address = pack_sockaddr_in(PORT, inet_aton('127.0.0.1'));
    bind($listener, $address) && listen($listener, MOST) or die "cannot listen for apt: $!\n";
    unblock($listener);
}

sub spew {
    my ($path, $text) = @_;
    sysopen(my $file, $path, O_WRONLY) or die "cannot open $path: $!\n";
    defined syswrite($file, $text) or die "cannot write $path: $!\n";
}

# --- commands

sub start {
    my ($id, $apart, $words) = @_;
    my @words = split /\0/, $words // '', -1;
    pop @words;
    my (@ours, @theirs);
    for my $n (0 .. 2) {
        pipe(my $from, my $to) or return refuse($id, "no pipe: $!");
        ($ours[$n], $theirs[$n]) = $n ? ($from, $to) : ($to, $from);
    }
    my $pid = fork // return refuse($id, "cannot start a process: $!");
    if (!$pid) {
        my $status = eval { supervise($apart, \@words, @theirs) };
        print STDERR "a command cannot be run: $@" if $@;
        POSIX::_exit($status // NOT_STARTED);
    }
    unblock($_) for @ours;
    my $channel = { id => $id, pid => $pid, to => $ours[0], waiting => '', ending => 0 };
    $channel->{from}{$_} = { file => $ours[$_], credit => WINDOW } for 1, 2;
    $commands{$id} = $channel;
}

sub refuse { my ($id, $why) = @_; frame('N', $id, 0, $why) }

# Makes the namespaces, and waits for their first process.
sub supervise {
    my ($apart, $words, @streams) = @_;
    $SIG{CHLD} = 'DEFAULT';
    defined syswrite($group->{procs}, '0') or die "cannot join the build's cgroup: $!\n";
    spew('/proc/self/oom_score_adj', 0);
    setpriority(0, 0, 0);
    for my $n (0 .. 2) { defined POSIX::dup2(fileno $streams[$n], $n) or die "no stream $n: $!\n" }
    POSIX::close($_) for 3 .. 255;
    my $own = $NEWPID | $NEWNS | $NEWIPC | ($apart ? $NEWNET : 0);
    call('unshare', $own) or die "cannot make the namespaces of a command: $!\n";
    my $pid = fork // die "cannot start a process: $!\n";
    return outlive($pid) if $pid;
    my $status = eval { first($apart, $words) };
    print STDERR "a command cannot be run: $@" if $@;
    POSIX::_exit($status // NOT_STARTED);
}

# The first process of the namespaces: what is left there when it ends, the kernel ends.
sub first {
    my ($apart, $words) = @_;
    call('prctl', $PDEATHSIG, 9, 0, 0, 0);
    mounts('proc', '/proc', 'proc', $NOSUID | $NODEV | $NOEXEC);
    mounts('/proc/sys', '/proc/sys', 'none', $BIND);
    mounts('none', '/proc/sys', 'none', $BIND | $REMOUNT | $RDONLY | $NOSUID | $NODEV | $NOEXEC);
    loopback() if $apart;
    my $pid = fork // die "cannot start a process: $!\n";
    return outlive($pid) if $pid;
    POSIX::setsid();
    $SIG{PIPE} = 'DEFAULT';
    call('prctl', $NO_NEW_PRIVS, 1, 0, 0, 0);
    no warnings 'exec';
    exec { $words->[0] } @$words if @$words;
    print STDERR "$words->[0]: $!\n" if @$words;
    POSIX::_exit(127);
}

# Waits for this process and for every orphan that comes here; its status, as a shell has it.
sub outlive {
    my ($pid) = @_;
    while ((my $ended = wait) > 0) {
        next unless $ended == $pid;
        return $? & 127 ? 128 + ($? & 127) : $? >> 8;
    }
    return NOT_STARTED;
}

sub reap {
    while ((my $pid = POSIX::waitpid(-1, POSIX::WNOHANG())) > 0) {
        my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
        for (values %commands) { $_->{status} = $status if $_->{pid} == $pid }
    }
}

# --- connections of apt

sub admit {
    accept(my $socket, $listener) or return;
    unblock($socket);
    my $id = TUNNEL | $next++;
    $tunnels{$id} = { id => $id, socket => $socket, to => $socket, waiting => '', ending => 0 };
    $tunnels{$id}{from}{1} = { file => $socket, credit => WINDOW };
    frame('O', $id, 0);
}

# --- streams

sub close_from {
    my ($channel, $stream) = @_;
    my $from = delete $channel->{from}{$stream} or return;
    shutdown($channel->{socket}, SHUT_RD) if $channel->{socket};
    frame('E', $channel->{id}, $stream);
}

sub close_to {
    my ($channel) = @_;
    my $to = delete $channel->{to} or return;
    $channel->{socket} ? shutdown($channel->{socket}, SHUT_WR) : close $to;
}

sub pull {
    my ($channel, $stream) = @_;
    my $from = $channel->{from}{$stream};
    my $most = $from->{credit} < PIECE ? $from->{credit} : PIECE;
    my $got = sysread($from->{file}, my $text, $most);
    return if !defined $got && again();
    return close_from($channel, $stream) if !$got;
    $from->{credit} -= $got;
    frame('D', $channel->{id}, $stream, $text);
}

sub push_on {
    my ($channel) = @_;
    my $done = syswrite($channel->{to}, $channel->{waiting});
    return if !defined $done && again();
    if (!defined $done) {
        # Whoever was to read it is gone.
        close_to($channel);
        return frame('X', $channel->{id}, 0);
    }
    substr($channel->{waiting}, 0, $done, '');
    credit($channel->{id}, 0, $done);
}

# Ends what has come to its end.
sub settle {
    for my $channel (values %commands, values %tunnels) {
        if (!$channel->{to}) {
            credit($channel->{id}, 0, length $channel->{waiting}) if length $channel->{waiting};
            $channel->{waiting} = '';
        }
        close_to($channel) if $channel->{ending} && !length $channel->{waiting};
        next if %{ $channel->{from} } || ($channel->{pid} ? !defined $channel->{status} : $channel->{to});
        frame('S', $channel->{id}, 0, chr($channel->{status} // 0));
        delete $commands{ $channel->{id} } // delete $tunnels{ $channel->{id} };
    }
}

# --- what is used up

sub breach { my ($what) = @_; frame('B', 0, 0, $what) unless $told{$what}++ }

sub look {
    breach('memory') if slurp('/proc/vmstat') =~ /^oom_kill [1-9]/m;
    sysseek($group->{events}, 0, 0);
    sysread($group->{events}, my $events, 1000);
    breach('processes') if ($events // '') =~ /^max [1-9]/m;
    my (undef, $size, undef, undef, $free) = unpack 'q5', room();
    breach('disk') if defined $free && $size * $free < LEFT;
}

# --- the loop

sub turn {
    my ($reading, $writing) = ('', '');
    vec($reading, fileno $port, 1) = 1;
    vec($writing, fileno $port, 1) = 1 if length $out;
    vec($reading, fileno $listener, 1) = 1 if $listener && keys %tunnels < MOST;
    my @all = (values %commands, values %tunnels);
    for my $channel (@all) {
        vec($writing, fileno $channel->{to}, 1) = 1 if $channel->{to} && length $channel->{waiting};
        next if length $out > ENOUGH;
        for my $from (grep { $_->{credit} > 0 } values %{ $channel->{from} }) { vec($reading, fileno $from->{file}, 1) = 1 }
    }
    my $found = select($reading, $writing, undef, PACE);
    return if $found <= 0;
    for my $channel (@all) {
        push_on($channel) if $channel->{to} && length $channel->{waiting} && vec($writing, fileno $channel->{to}, 1);
        for my $stream (keys %{ $channel->{from} }) {
            my $from = $channel->{from}{$stream} or next;
            pull($channel, $stream) if $from->{credit} > 0 && vec($reading, fileno $from->{file}, 1);
        }
    }
    admit() if $listener && vec($reading, fileno $listener, 1);
    if (vec($reading, fileno $port, 1)) {
        my $got = sysread($port, $in, 4 * PIECE, length $in);
        die "the port is closed\n" if defined $got ? !$got : !again();
        heard();
    }
    if (length $out && vec($writing, fileno $port, 1)) {
        my $done = syswrite($port, $out, PIECE);
        die "the port is closed: $!\n" if !defined $done && !again();
        substr($out, 0, $done, '') if $done;
    }
}

sub main {
    $SIG{PIPE} = 'IGNORE';
    $SIG{CHLD} = sub { };
    %ENV = (PATH => '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL => 'C.UTF-8');
    chdir '/';
    my ($device) = glob '/dev/vport*' or die "there is no port\n";
    sysopen($port, $device, O_RDWR | O_NONBLOCK) or die "cannot open $device: $!\n";
    frame('H', 0, 0, '1');
    my $looked = 0;
    while (1) {
        turn();
        reap();
        settle();
        my $now = (POSIX::times())[0];
        if ($ready && $now - $looked >= TICKS) { $looked = $now; look() }
    }
}

eval { main() };
# What is said now is all that the host learns of it. The machine ends when it is told to start again.
print STDERR "the agent: $@";
select(undef, undef, undef, 0.5);
call('reboot', 0xfee1_dead, 672_274_793, 0x0123_4567, 0);

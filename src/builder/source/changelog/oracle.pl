# Reads paths from standard input, and prints a line of JSON for each: what dpkg-parsechangelog reads there, and where it warns.
use strict;
use warnings;
use Dpkg::Changelog::Parse;

my $warnings;
local $SIG{__WARN__} = sub { $warnings .= $_[0] };
my $hex = sub { unpack 'H*', $_[0] // '' };
while (my $path = <STDIN>) {
    chomp $path;
    $warnings = '';
    my $fields = eval { changelog_parse(file => $path, compression => 0) };
    my @lines = $warnings =~ /\(l(\d+)\): (?!found end of file)/g;
    my $ends = () = $warnings =~ /\(l\d+\): found end of file/g;
    print join("\t", defined $fields ? 1 : 0, map({ $hex->($fields->{$_}) } qw(Source Version Distribution Timestamp)),
        join(',', @lines), $ends), "\n";
}

# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_symroute_global_optspecs
    string join \n i/interfaces= root= dialect= v/verbose color= q/quiet h/help V/version
end

function __fish_symroute_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_symroute_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_symroute_using_subcommand
    set -l cmd (__fish_symroute_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c symroute -n "__fish_symroute_needs_command" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_needs_command" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_needs_command" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_needs_command" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_needs_command" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_needs_command" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_needs_command" -s V -l version -d 'Print version'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "up" -d 'Add routes and rules for interfaces that came up; does not start them'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "down" -d 'Remove routes and rules of interfaces that go down; does not stop them'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "apply" -d 'Install the routes and rules of all active interfaces'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "flush" -d 'Remove all routes and rules that symroute added, and nothing else'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "watch" -d 'Add and remove routes and rules whenever something changes; usually run by systemd'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "hook" -d 'Handle an event of ifupdown; reads IFACE, MODE and so on from the environment'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "config" -d 'Show the interfaces files as ifupdown reads them'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "plan" -d 'Show the uplinks, tables, routes and rules that the configuration needs'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "status" -d 'Compare the kernel\'s routes and rules with the configuration; exit code 1 if they differ'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "observe" -d 'Watch packets of the uplinks, and find asymmetry in them; exit code 1 if there is any'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "explain" -d 'Show which rule and route a packet takes; exit code 1 when there is none'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "check" -d 'Find what breaks symmetric routing; sends no packet'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand up" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand up" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand up" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand up" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand down" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand down" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand down" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand down" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand watch" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand watch" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand watch" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand watch" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand watch" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand watch" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l lease -d 'Read the environment of a DHCP client\'s hook, instead of ifupdown\'s'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l ppp -d 'Read the environment of a script of pppd, instead of ifupdown\'s'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand config" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand config" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand config" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand config" -l json -d 'Print JSON; routes and rules have the keys of \'ip -json\''
complete -c symroute -n "__fish_symroute_using_subcommand config" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s 4 -l ipv4 -d 'Only IPv4'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s 6 -l ipv6 -d 'Only IPv6'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l json -d 'Print JSON; routes and rules have the keys of \'ip -json\''
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand status" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand status" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand status" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand status" -s 4 -l ipv4 -d 'Only IPv4'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s 6 -l ipv6 -d 'Only IPv6'
complete -c symroute -n "__fish_symroute_using_subcommand status" -l json -d 'Print JSON; routes and rules have the keys of \'ip -json\''
complete -c symroute -n "__fish_symroute_using_subcommand status" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l for -d 'Stop after this time, such as 30s or 5m [default: at Ctrl-C]' -r
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l pcap -d 'Write the asymmetric packets to a file that Wireshark and tcpdump read' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s 4 -l ipv4 -d 'Only IPv4'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s 6 -l ipv6 -d 'Only IPv6'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l once -d 'Stop at the first asymmetric packet'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -l json -d 'Print one JSON object for each event'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand observe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l from -d 'Source address [default: a socket without a source address]' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l to -d 'Destination address' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l iif -d 'Interface on which the packet is received' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l oif -d 'Interface to which the socket is bound' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l mark -d 'Mark of the packet, decimal or hexadecimal (0x)' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l uid -d 'User ID of the socket [default: yours]' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l ipproto -d 'Protocol, for rules with \'ipproto\': tcp, udp or icmp' -r -f -a "tcp\t''
udp\t''
icmp\t''"
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l sport -d 'Source port, for rules with \'sport\'' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l dport -d 'Destination port, for rules with \'dport\'' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l json -d 'Print JSON; routes and rules have the keys of \'ip -json\''
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand check" -l to -d 'Remote address to look up, at most one for each address family [default: one outside all networks of this host]' -r
complete -c symroute -n "__fish_symroute_using_subcommand check" -l traffic -d 'Also watch packets for this time, such as 10s, and report asymmetric ones; needs root' -r
complete -c symroute -n "__fish_symroute_using_subcommand check" -l explain -d 'Show the page of a finding, or \'list\' for all findings' -r -f -a "address-duplicate\t''
address-missing\t''
address-on-two-interfaces\t''
answered-elsewhere\t''
arp-flux\t''
arrived-elsewhere\t''
default-route-unknown\t''
default-stale\t''
dnat-without-marks\t''
foreign-route\t''
foreign-source-sent\t''
gateway-unknown\t''
interface-group\t''
local-network-unreachable\t''
lookup-failed\t''
networkd-removes-rules\t''
networkmanager-manages\t''
no-default\t''
not-applied\t''
ppp-interface-unknown\t''
promote-secondaries-off\t''
rp-filter-drops\t''
rp-filter-ignores-marks\t''
rule-duplicated\t''
rule-missing\t''
rule-shadowed\t''
rule-stale\t''
rule-without-address\t''
same-metric\t''
stanza-error\t''
table-empty\t''
table-stale\t''
unanswered\t''
uplink-down\t''
wildcard-udp\t''
manual-never-runs\t''
manual-unknown-table\t''
manual-leaks\t''
manual-never-matches\t''
manual-deletes-another\t''
manual-wrong-table\t''
manual-wrong-source\t''
manual-wrong-gateway\t''
manual-wrong-device\t''
manual-wrong-stanza\t''
manual-no-priority\t''
manual-no-subnet\t''
manual-fixed-address\t''
list\t''"
complete -c symroute -n "__fish_symroute_using_subcommand check" -l ignore -d 'Ignore this finding, for all or for one object: \'wildcard-udp:1194\'' -r -f -a "address-duplicate\t''
address-missing\t''
address-on-two-interfaces\t''
answered-elsewhere\t''
arp-flux\t''
arrived-elsewhere\t''
default-route-unknown\t''
default-stale\t''
dnat-without-marks\t''
foreign-route\t''
foreign-source-sent\t''
gateway-unknown\t''
interface-group\t''
local-network-unreachable\t''
lookup-failed\t''
networkd-removes-rules\t''
networkmanager-manages\t''
no-default\t''
not-applied\t''
ppp-interface-unknown\t''
promote-secondaries-off\t''
rp-filter-drops\t''
rp-filter-ignores-marks\t''
rule-duplicated\t''
rule-missing\t''
rule-shadowed\t''
rule-stale\t''
rule-without-address\t''
same-metric\t''
stanza-error\t''
table-empty\t''
table-stale\t''
unanswered\t''
uplink-down\t''
wildcard-udp\t''
manual-never-runs\t''
manual-unknown-table\t''
manual-leaks\t''
manual-never-matches\t''
manual-deletes-another\t''
manual-wrong-table\t''
manual-wrong-source\t''
manual-wrong-gateway\t''
manual-wrong-device\t''
manual-wrong-stanza\t''
manual-no-priority\t''
manual-no-subnet\t''
manual-fixed-address\t''"
complete -c symroute -n "__fish_symroute_using_subcommand check" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand check" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand check" -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute -n "__fish_symroute_using_subcommand check" -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute -n "__fish_symroute_using_subcommand check" -s 4 -l ipv4 -d 'Only IPv4'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s 6 -l ipv6 -d 'Only IPv6'
complete -c symroute -n "__fish_symroute_using_subcommand check" -l json -d 'Print JSON; routes and rules have the keys of \'ip -json\''
complete -c symroute -n "__fish_symroute_using_subcommand check" -s v -l verbose -d 'Print more'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "up" -d 'Add routes and rules for interfaces that came up; does not start them'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "down" -d 'Remove routes and rules of interfaces that go down; does not stop them'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "apply" -d 'Install the routes and rules of all active interfaces'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "flush" -d 'Remove all routes and rules that symroute added, and nothing else'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "watch" -d 'Add and remove routes and rules whenever something changes; usually run by systemd'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "hook" -d 'Handle an event of ifupdown; reads IFACE, MODE and so on from the environment'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "config" -d 'Show the interfaces files as ifupdown reads them'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "plan" -d 'Show the uplinks, tables, routes and rules that the configuration needs'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "status" -d 'Compare the kernel\'s routes and rules with the configuration; exit code 1 if they differ'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "observe" -d 'Watch packets of the uplinks, and find asymmetry in them; exit code 1 if there is any'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "explain" -d 'Show which rule and route a packet takes; exit code 1 when there is none'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "check" -d 'Find what breaks symmetric routing; sends no packet'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush watch hook config plan status observe explain check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c symroute -n "__fish_symroute_using_subcommand up" -f -a '(command ls /sys/class/net 2>/dev/null)'
complete -c symroute -n "__fish_symroute_using_subcommand down" -f -a '(command ls /sys/class/net 2>/dev/null)'
complete -c symroute -n "__fish_symroute_using_subcommand status" -f -a '(command ls /sys/class/net 2>/dev/null)'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -f -a '(command ls /sys/class/net 2>/dev/null)'
complete -c symroute -n "__fish_symroute_using_subcommand check" -f -a '(command ls /sys/class/net 2>/dev/null)'

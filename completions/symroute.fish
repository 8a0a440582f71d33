# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_symroute_global_optspecs
    string join \n i/interfaces= root= dialect= v/verbose q/quiet h/help V/version
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
complete -c symroute -n "__fish_symroute_needs_command" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_needs_command" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_needs_command" -s V -l version -d 'Print version'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "up" -d 'Do what the hook does when these interfaces have come up'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "down" -d 'Do what the hook does when these interfaces are about to go down'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "apply" -d 'Bring tables and rules in step with the configuration, for all interfaces that are up'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "flush" -d 'Remove all routes and rules that symroute made, and nothing else'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "hook" -d 'What the hooks in if-up.d and if-down.d call: reads IFACE, MODE and the like from the environment'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "config" -d 'Show the files as ifupdown reads them: stanzas, options, and where each came from'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "plan" -d 'Show uplinks, tables, routes and rules, before anything is done'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "status" -d 'Show the plan beside the kernel; exit code 1 when they differ'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "check" -d 'Prove that answers leave by the uplink that they belong to, and find what breaks it; sends and changes nothing'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "explain" -d 'Show which way a packet goes and why: the rules one by one, what their tables answer, and the kernel\'s own answer; exit code 1 when there is no route. Nothing is sent'
complete -c symroute -n "__fish_symroute_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand up" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand up" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand up" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand down" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand down" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand down" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand apply" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand flush" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand flush" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand hook" -l dry-run -d 'Change nothing; show the \'ip\' commands that would do the same'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand config" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand config" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand config" -l json -d 'Print JSON with iproute2\'s keys'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand plan" -l json -d 'Print JSON with iproute2\'s keys'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand status" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand status" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand status" -l json -d 'Print JSON with iproute2\'s keys'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand check" -l to -d 'Look up this distant address, instead of one outside every network of the host; once for each family' -r
complete -c symroute -n "__fish_symroute_using_subcommand check" -l ignore -d 'Leave out this kind of finding, or one of them: \'wildcard-udp:1194\', \'uplink-down:eth1\'' -r
complete -c symroute -n "__fish_symroute_using_subcommand check" -l explain -d 'Explain a kind of finding and how to fix it; \'list\' names all kinds' -r
complete -c symroute -n "__fish_symroute_using_subcommand check" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand check" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand check" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand check" -l json -d 'Print JSON with iproute2\'s keys'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l from -d 'The source; without it, a socket that is not bound to an address' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l to -d 'The destination' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l iif -d 'The packet comes in by this device' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l oif -d 'The socket is bound to this device' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l mark -d 'The packet\'s mark, decimal or 0x…' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l uid -d 'Whose socket it is, by number; without it, yours' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l ipproto -d 'For rules with \'ipproto\': tcp, udp or icmp' -r -f -a "tcp\t''
udp\t''
icmp\t''"
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l sport -d 'For rules with \'sport\'' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l dport -d 'For rules with \'dport\'' -r
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s i -l interfaces -d 'The interfaces file' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l root -d 'Read the configuration of another root directory (an image, a chroot)' -r -F
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute -n "__fish_symroute_using_subcommand explain" -l json -d 'Print JSON with iproute2\'s keys'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s v -l verbose -d 'Say more'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s q -l quiet -d 'Say nothing but errors'
complete -c symroute -n "__fish_symroute_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "up" -d 'Do what the hook does when these interfaces have come up'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "down" -d 'Do what the hook does when these interfaces are about to go down'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "apply" -d 'Bring tables and rules in step with the configuration, for all interfaces that are up'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "flush" -d 'Remove all routes and rules that symroute made, and nothing else'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "hook" -d 'What the hooks in if-up.d and if-down.d call: reads IFACE, MODE and the like from the environment'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "config" -d 'Show the files as ifupdown reads them: stanzas, options, and where each came from'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "plan" -d 'Show uplinks, tables, routes and rules, before anything is done'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "status" -d 'Show the plan beside the kernel; exit code 1 when they differ'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "check" -d 'Prove that answers leave by the uplink that they belong to, and find what breaks it; sends and changes nothing'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "explain" -d 'Show which way a packet goes and why: the rules one by one, what their tables answer, and the kernel\'s own answer; exit code 1 when there is no route. Nothing is sent'
complete -c symroute -n "__fish_symroute_using_subcommand help; and not __fish_seen_subcommand_from up down apply flush hook config plan status check explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'

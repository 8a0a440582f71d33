complete -c symroute-gen -l style -d 'The kind of lines; without it, the kind that the file has, or else iproute2' -r -f -a "iproute2\t'\'ip\' commands that are safe to run twice'
article\t'\'ip\' commands as in the article, in its order; with --layout article, its own lines'
hook\t'Only \'metric\' where it is needed: the hooks do the rest'"
complete -c symroute-gen -l template -d 'Make the lines from this minijinja template instead' -r -F
complete -c symroute-gen -l layout -d 'The kind of rules; without it, the kind that the file has, or else layered' -r -f -a "layered\t'Own subnet, then LAN and VPN routes, then the uplink\'s gateway'
article\t'One rule for each address, as in the article'"
complete -c symroute-gen -l root -d 'Work on another root directory (an image, a chroot)' -r -F
complete -c symroute-gen -l dialect -d 'Read the file as this ifup does, instead of the one that dpkg says is installed' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'A stanza has no family and several addresses; templates; nothing is refused'
ifupdown2\t'A stanza may have no family and several addresses; mako; nothing is refused'"
complete -c symroute-gen -s w -l write -d 'Write the change'
complete -c symroute-gen -s c -l check -d 'Write nothing; the exit code says whether a write would change something'
complete -c symroute-gen -s r -l remove -d 'Take every block out instead'
complete -c symroute-gen -l json -d 'Print JSON'
complete -c symroute-gen -s v -l verbose -d 'Show the whole plan with all routes and rules'
complete -c symroute-gen -s q -l quiet -d 'Say nothing but errors'
complete -c symroute-gen -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute-gen -s V -l version -d 'Print version'

complete -c symroute-gen -l style -d 'Style of the lines [default: that of the file, or iproute2]' -r -f -a "iproute2\t'\'ip\' commands that are safe to run twice'
article\t'\'ip\' commands in the order of the article; with --layout article, exactly the article\'s lines'
hook\t'Only \'metric\' lines; the hooks add routes and rules'"
complete -c symroute-gen -l template -d 'Use this minijinja template for the lines' -r -F
complete -c symroute-gen -l layout -d 'Layout of the rules [default: that of the file, or layered]' -r -f -a "layered\t'Specific routes of the main table (LAN, VPN) first, then the uplink\'s gateway'
article\t'One rule for each address, as in the article'"
complete -c symroute-gen -l root -d 'Work on another root directory (an image, a chroot)' -r -F
complete -c symroute-gen -l dialect -d 'Syntax of the file [default: that of the installed ifup]' -r -f -a "ifupdown\t'Debian\'s own'
ifupdown-ng\t'ifupdown-ng: stanzas without a family, several addresses, templates'
ifupdown2\t'ifupdown2: stanzas without a family, several addresses, mako templates'"
complete -c symroute-gen -l color -d 'Use colors: on a terminal, always, or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c symroute-gen -s w -l write -d 'Write the change'
complete -c symroute-gen -s c -l check -d 'Write nothing; exit code 1 when a write would change something'
complete -c symroute-gen -s r -l remove -d 'Remove all blocks'
complete -c symroute-gen -l json -d 'Print JSON'
complete -c symroute-gen -s v -l verbose -d 'Show the whole plan with all routes and rules'
complete -c symroute-gen -s q -l quiet -d 'Print only JSON and errors; the exit code is the result'
complete -c symroute-gen -s h -l help -d 'Print help (see more with \'--help\')'
complete -c symroute-gen -s V -l version -d 'Print version'

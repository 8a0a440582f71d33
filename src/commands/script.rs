//! The commands in the value of one `up` or `down` line, a script of the shell.

use std::borrow::Cow;

use super::command::{Command, Rejection};
use super::net_tools;
use super::reading::ip;
use super::shell::{Segment, Separator, expand, introduces, plain, shell};
use super::words::Word;

/// The value of a variable such as `$IFACE`.
type Variables<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// The commands of one `up` or `down` value.
pub fn commands<'a>(line: &'a str, variable: &Variables) -> Vec<Command<'a>> {
    let mut found = Vec::new();
    for_each_command(&Cow::Borrowed(line), variable, &mut |command| found.push(command));
    found
}

/// The same, one after the other.
pub(crate) fn for_each_command<'a>(line: &Word<'a>, variable: &Variables, found: &mut dyn FnMut(Command<'a>)) {
    if may_have_command(line) {
        // `sh -c "sh -c '…'"`: the number of levels is limited.
        Script { variable, levels: 4, failure_propagates: true, is_compound: false }.read(line, found);
    }
}

/// Quotes and variables can make a word that is not in the line.
fn may_have_command(line: &str) -> bool {
    let is_word_of_line = |byte: u8| !matches!(byte, b'\'' | b'"' | b'\\' | b'$');
    let has = |word: &str| line.as_bytes().windows(word.len()).any(|part| part == word.as_bytes());
    has("ip") || has("route") || !line.bytes().all(is_word_of_line)
}

/// What decides how a command of a line is read.
struct Script<'v> {
    variable: &'v Variables<'v>,
    /// Of `sh -c`, which may follow.
    levels: usize,
    failure_propagates: bool,
    /// `if`, `while` or the like come before it.
    is_compound: bool,
}

impl Script<'_> {
    fn read<'a>(mut self, line: &Word<'a>, found: &mut dyn FnMut(Command<'a>)) {
        match line {
            Cow::Borrowed(line) => match plain(line) {
                Some(segment) => self.segment(segment, found),
                None => shell(line).into_iter().for_each(|segment| self.segment(segment, found)),
            },
            // Words are parts of their line, and this one is not kept.
            Cow::Owned(line) => self.read(&Cow::Borrowed(line), &mut |command| found(command.into_owned())),
        }
    }

    fn segment<'a>(&mut self, segment: Segment<'a>, found: &mut dyn FnMut(Command<'a>)) {
        let Segment { mut words, placeholder, before, .. } = segment;
        let first = words.first().map(|word| &**word).unwrap_or_default();
        self.is_compound |= matches!(first, "if" | "elif" | "while" | "until" | "for" | "case");
        let introducing = words.iter().take_while(|word| introduces(word)).count();
        if introducing > 0 {
            words.drain(..introducing);
        }
        let failure_propagates = self.failure_propagates && segment.failure_propagates;
        if let [program, option, script, ..] = &words[..] {
            if option == "-c" && self.levels > 0 && matches!(program.rsplit('/').next(), Some("sh" | "dash" | "bash")) {
                let levels = self.levels - 1;
                return Script { levels, failure_propagates, is_compound: false, ..*self }.read(script, found);
            }
        }
        let expand = || words.iter().map(|word| expand(word, self.variable)).collect::<Vec<Word>>();
        let expanded = segment.has_variables.then(expand);
        let read = expanded.as_ref().unwrap_or(&words);
        let Some(mut command) = ip(&words, read).or_else(|| net_tools::route(&words, read)) else { return };
        if let Some(word) = placeholder {
            let why = format!("'{word}' is a placeholder; the shell reads '<' and '>' as redirections");
            let rejection = Rejection { word: word.to_string(), why, exit: 2, corrected: None };
            command.rejection = Some(Box::new(rejection));
        }
        let conditional = self.is_compound || before != Separator::End;
        found(Command { words, failure_propagates, conditional, ..command });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Object, SameMetric, Verb};

    fn all(line: &str) -> Vec<Command<'_>> {
        commands(line, &|name| (name == "IFACE").then(|| "eth1".to_string()))
    }

    fn one(line: &str) -> Command<'_> {
        let mut found = all(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn ip_is_found_in_its_usual_forms() {
        let rule = one("/sbin/ip ru add from 192.0.2.10/32 table isp1 prio 100 || true");
        assert_eq!((rule.object, rule.verb), (Object::Rule, Verb::Add));
        assert_eq!((rule.get("table"), rule.priority()), (Some("isp1"), Some(100)));
        assert_eq!(rule.address("from"), "192.0.2.10".parse().ok());
        assert!(!rule.failure_propagates && !rule.conditional && rule.rejection.is_none());
        let route = one("ip -6 r a default via fe80::1 dev ${IFACE} tab 7 2>/dev/null");
        assert_eq!((route.object, route.get("dev"), route.get("table")), (Object::Route, Some("eth1"), Some("7")));
        assert!(route.inet6 && route.adds() && route.is_default() && route.failure_propagates);
        assert_eq!(all("ip ro flush table 2; ip rule del from 192.0.2.1 && echo ip rule").len(), 2);
        let address = one("ip addr add 192.0.2.11/24 dev $IFACE label $IFACE:1");
        assert_eq!((address.object, address.get("to")), (Object::Address, Some("192.0.2.11/24")));
        assert_eq!(one("ip ro replace default via 192.0.2.1 t 100").get("table"), Some("100"));
        let tunnel = one("ip ru add from 192.0.2.10 t 100");
        assert_eq!((tunnel.get("table"), tunnel.get("tun_id")), (None, Some("100")), "as iprule.c has it");
        assert_eq!(one("ip rule add from 192.0.2.10 table 2 >/dev/null").get("table"), Some("2"));
        assert_eq!(one("ip rule add from 192.0.2.10 table 2>/dev/null").get("table"), None);
        assert_eq!(one("ip rule add from 192.0.2.10 table $IFACEx").get("table"), Some("$IFACEx"));
    }

    #[test]
    fn lines_are_split_as_the_shell_does() {
        let flags = |line: &str| all(line).iter().map(|it| (it.failure_propagates, it.conditional)).collect::<Vec<_>>();
        assert_eq!(flags("ip rule add from 192.0.2.1 table 1"), [(true, false)]);
        assert_eq!(flags("ip rule add from 192.0.2.1 table 1 || true"), [(false, false)]);
        assert_eq!(flags("ip rule add from 192.0.2.1 table 1; true"), [(false, false)]);
        assert_eq!(flags("ip rule add from 192.0.2.1 table 1;"), [(true, false)]);
        assert_eq!(flags("ip ru a from 192.0.2.1 && ip ru a from 192.0.2.2"), [(true, false), (true, true)]);
        assert_eq!(flags("ip ru a from 192.0.2.1 && ip ru a from 192.0.2.2 || :"), [(false, false), (false, true)]);
        assert_eq!(flags("{ ip ru a from 192.0.2.1; } || :"), [(false, false)]);
        assert_eq!(flags("ip rule | grep -q isp1 || ip rule add from 192.0.2.1 table 1"), [(true, true)]);
        assert_eq!(flags("if true; then ip ru a from 192.0.2.1; fi"), [(true, true)]);
        assert_eq!(flags("sh -c 'ip rule add from 192.0.2.1 table 1 || true'"), [(false, false)]);
        assert_eq!(
            flags("/bin/sh -c \"ip ru a from 192.0.2.1; ip r a default dev $IFACE t 1\""),
            [(false, false), (true, false)]
        );
        assert_eq!(one("sh -c 'ip r a default dev $IFACE t 1'").get("dev"), Some("eth1"));
        assert_eq!(flags("while ip rule del table 1; do :; done"), [(false, true)]);
    }

    #[test]
    fn a_keyword_in_place_of_a_value() {
        let why = |line: &str| one(line).rejection.map(|rejection| rejection.why).unwrap_or_default();
        assert_eq!(why("ip rule add from 192.0.2.10 fwmark 1 table 2"), "");
        assert_eq!(why("ip rule add from fwmark 1 table 2"), "'from' has no address");
        assert_eq!(why("ip rule add from 192.0.2.10 lookup table 2"), "'lookup' and 'table' are the same keyword");
        let table = one("ip rule add from 192.0.2.10 table priority 200");
        let rejection = table.rejection.as_ref().map(|rejection| (&*rejection.why, &rejection.corrected));
        assert_eq!(rejection, Some(("'table' requires a value", &None)));
        assert_eq!((table.get("table"), table.priority()), (None, Some(200)));
    }

    #[test]
    fn invalid_ip_commands_are_reported() {
        for (line, exit, corrected) in [
            ("ip rule del from 192.0.2.1 eth3", 255, Some("ip rule del from 192.0.2.1 table eth3")),
            ("ip rule add from fwmark 0x22 table 2", 1, Some("ip rule add fwmark 0x22 table 2")),
            ("ip rule add from 192.0.2.1 lookup table 5", 255, Some("ip rule add from 192.0.2.1 lookup 5")),
            ("/sbin ip rule add from 192.0.2.1 table 5", 126, Some("/sbin/ip rule add from 192.0.2.1 table 5")),
            ("ip route add default via 192.0.2.1 lookup 5", 255, Some("ip route add default via 192.0.2.1 table 5")),
            ("ip rule add from 2001:db8::1 table 5", 2, Some("ip -6 rule add from 2001:db8::1 table 5")),
            ("ip route add 192.0.2.10/24 dev eth1 table 5", 2, Some("ip route add 192.0.2.0/24 dev eth1 table 5")),
            ("ip -6 rule add from 192.0.2.1 table 5", 1, None),
            ("ip rule add from 192.0.2.256 table 5", 1, None),
            ("ip rule add from 192.0.2.1 table 5 prio", 255, None),
            ("ip rule add from 192.0.2.1 type", 255, None),
            ("ip route add table 5 to", 255, None),
            ("ip rule add from 192.0.2.1 table 5 prio high", 255, None),
            ("ip rule add from <ip> table 5", 2, None),
            ("ip rule add", 1, None),
        ] {
            let rejection = one(line).rejection.unwrap_or_else(|| panic!("taken: {line}"));
            assert_eq!((rejection.exit, rejection.corrected.as_deref()), (exit, corrected), "{line}");
        }
        for line in [
            "ip rule add from $ADDRESS table $TABLE",
            "ip rule add from 192.0.2 table 5 prio 0x64 unreachable",
            "ip route add to blackhole 192.0.2.0/255.255.255.0 table 5 mtu lock 1400",
            "ip route add default via inet6 2001:db8::1 onlink t 5",
        ] {
            assert_eq!(one(line).rejection, None, "{line}");
        }
    }

    #[test]
    fn other_words_in_their_place() {
        let rule = one("ip ru a table 5 prio 5 from 192.0.2.5 || true");
        assert_eq!(rule.with_value("table", "6"), "ip ru a table 6 prio 5 from 192.0.2.5");
        assert_eq!(rule.with_verb("del"), "ip ru del table 5 prio 5 from 192.0.2.5");
        let route = one("/sbin ip route add default dev $IFACE t eth1");
        assert_eq!(route.with_value("table", "7"), "/sbin/ip route add default dev $IFACE t 7");
    }

    #[test]
    fn what_a_second_route_does() {
        for (line, expected) in [
            ("ip route add default dev gw metric 5", SameMetric::Fails),
            ("route add default gw 192.0.2.1", SameMetric::Joins),
            ("ip route append default via 192.0.2.1", SameMetric::Joins),
            ("ip route change default via 192.0.2.1", SameMetric::Replaces),
        ] {
            assert_eq!(one(line).same_metric(), expected, "{line}");
        }
    }

    #[test]
    fn routes_of_net_tools() {
        let read = |line: &str| {
            let command = one(line);
            let get = |keyword| command.get(keyword).unwrap_or("-").to_string();
            assert!(command.is_default() && command.object == Object::Route, "{line}");
            format!("{:?} inet6={} {} {} {}", command.verb, command.inet6, get("via"), get("dev"), get("metric"))
        };
        for (line, expected) in [
            ("route add default gw 192.0.2.1", "Add inet6=false 192.0.2.1 - -"),
            ("/sbin/route add default gw 192.0.2.1 $IFACE", "Add inet6=false 192.0.2.1 eth1 -"),
            ("route add -net default gw 192.0.2.1 metric 5 dev eth0", "Add inet6=false 192.0.2.1 eth0 5"),
            ("route add -net 0.0.0.0 netmask 0.0.0.0 gw 192.0.2.1", "Add inet6=false 192.0.2.1 - -"),
            ("route -v add -net 0.0.0.0/0 gateway 192.0.2.1 || true", "Add inet6=false 192.0.2.1 - -"),
            ("route -A inet6 add default gw fe80::1 dev eth1", "Add inet6=true fe80::1 eth1 1"),
            ("route add -6 ::/0 gw 2001:db8::1 metric 9 eth1", "Add inet6=true 2001:db8::1 eth1 9"),
            ("route del default gw 192.0.2.1", "Delete inet6=false 192.0.2.1 - -"),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        for line in [
            "route -n",
            "route add -host 192.0.2.9 gw 192.0.2.1",
            "route add -net 192.0.2.0 gw 192.0.2.1",
            "route add -net 192.0.2.0 netmask 255.0.255.0 gw 192.0.2.1",
            "route add -net 192.0.2.0/24 eth0",
            "route add 0.0.0.0 gw 192.0.2.1",
            "route add",
        ] {
            assert_eq!(all(line), [], "{line}");
        }
        for line in [
            "route add -net 192.0.2.64 netmask 255.255.255.192 gw 192.0.2.65 dev eth0",
            "route add -net 192.0.2.64/26 gw 192.0.2.65 eth0",
        ] {
            let given = ["to", "via", "dev"].map(|keyword| one(line).get(keyword).map(str::to_string));
            assert_eq!(given, ["192.0.2.64/26", "192.0.2.65", "eth0"].map(|value| Some(value.into())), "{line}");
        }
        let meets = |line: &str| one(line).same_metric();
        assert_eq!(meets("ip r a default via 192.0.2.1"), SameMetric::Fails);
        assert_eq!(meets("ip route replace default via 192.0.2.1"), SameMetric::Replaces);
        assert_eq!(meets("ip -6 route append default via fe80::1 dev eth0"), SameMetric::Joins);
        assert_eq!(meets("route add default gw 192.0.2.1"), SameMetric::Joins);
        for (line, is_first) in [
            ("ip route add 192.0.2.0/24 via 192.0.2.1", false),
            ("ip route append 192.0.2.0/24 via 192.0.2.1", false),
            ("ip route prepend 192.0.2.0/24 via 192.0.2.1", true),
            ("ip route replace 192.0.2.0/24 via 192.0.2.1", true),
            ("route add -net 192.0.2.0/24 gw 192.0.2.1", true),
        ] {
            assert_eq!(one(line).is_used_first(), is_first, "{line}");
        }
    }

    #[test]
    fn other_commands_are_skipped() {
        for line in ["echo ip rule add", "ip link set eth1 up", "# ip rule add from x", "ip", "ip rule", "'ip rule", ""]
        {
            assert_eq!(all(line), [], "{line}");
        }
        assert_eq!(all("ip -n other rule add from 192.0.2.1 table 5"), []);
    }

    #[test]
    fn a_line_of_any_length() {
        for (joint, count) in [(" && ", 50_000), (" || ", 5_000), ("; ", 5_000), (" | ", 5_000)] {
            let line = vec!["ip rule add from 192.0.2.1 table 1"; count].join(joint);
            let found = all(&line);
            assert_eq!(found.len(), count, "{joint}");
            assert_eq!(
                (found[0].failure_propagates, found[count - 1].failure_propagates),
                (joint == " && ", true),
                "{joint}"
            );
        }
        assert_eq!(all(&"sh -c '".repeat(100_000)), []);
        for opening in ["{ ", "${", "$", "'", "\"", "<a", "\\", "2>"] {
            assert_eq!(all(&opening.repeat(100_000)), [], "{opening}");
            all(&format!("ip rule add from 192.0.2.1 table {}", opening.repeat(100_000)));
        }
        assert!(one(&format!("ip rule add from 192.0.2.1 table 1{}", "; fi".repeat(100_000))).failure_propagates);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            all(&line);
        }
    }
}

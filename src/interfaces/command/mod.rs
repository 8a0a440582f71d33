//! The `ip rule`, `ip route` and `ip address` commands in a stanza's `up` and `down` lines, and the default routes
//! of route(8).
//!
//! ifupdown hands these lines to `/bin/sh`, and that hands words to `ip`: `shell` stands for the one and `reading`
//! for the other, with what iproute2 knows in `keywords`. The laboratory holds it against the real `ip`.

mod keywords;
mod net_tools;
mod reading;
mod shell;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub use self::keywords::number;
pub(crate) use self::keywords::prefix;
use self::keywords::{Keyword, ROUTE, RULE, abbreviated, keyword};
use self::reading::ip;
use self::shell::{Joint, expand, introduces, shell};

/// What a command changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Rule,
    Route,
    Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `add`, `append`, `prepend`, `change`, `replace`
    Add,
    Delete,
    Flush,
}

/// What becomes of two routes with one destination and metric (measured: docs/interfaces.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// The second command fails: "File exists".
    Fails,
    /// The second route replaces the first one.
    Replaces,
    /// The table has both.
    Joins,
}

/// A command that changes rules, routes or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub object: Object,
    pub verb: Verb,
    /// `-6`, or an address with a colon in it.
    pub inet6: bool,
    /// iproute2's keywords in full with their values: for rules `from`, `to`, `priority`, `table`, `iif` and so
    /// on; for routes `to` (the destination), `via`, `dev`, `src`, `table`, …; for addresses `to` and `dev`.
    given: BTreeMap<&'static str, String>,
    /// Why `ip` or the shell will not carry it out, as far as the text alone tells.
    pub refused: Option<Refused>,
    /// Its words, variables as they were written.
    words: Vec<String>,
    /// Where among them the verb is.
    verb_at: usize,
    /// Its failure is the failure of the line: nothing like `|| true` comes after it.
    pub heeded: bool,
    /// Another command decides whether, or how often, it runs.
    pub conditional: bool,
}

/// What is wrong with the text of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The words to point at.
    pub word: String,
    /// What is wrong, as a clause.
    pub why: String,
    /// The exit code of `ip`, or the shell's.
    pub exit: u8,
    /// The command as it was probably meant.
    pub corrected: Option<String>,
}

impl Command {
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.given.get(keyword).map(String::as_str)
    }

    /// Everything that is given, by keyword.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(keyword, value)| (*keyword, value.as_str()))
    }

    pub fn adds(&self) -> bool {
        self.verb == Verb::Add
    }

    /// What becomes of a route that the table has already with this destination and metric.
    pub fn meets_its_like(&self) -> Meeting {
        let route8 = self.words.iter().any(|word| matches!(word.as_str(), "gw" | "gateway"));
        match abbreviated(&self.words[self.verb_at], &["add", "change", "chg", "replace", "prepend", "append"]) {
            Some("add") if !route8 => Meeting::Fails,
            Some("change" | "chg" | "replace") => Meeting::Replaces,
            _ => Meeting::Joins,
        }
    }

    /// A prefix among the values; nothing where it is not given, or is none.
    pub fn prefix(&self, keyword: &str) -> Option<IpNet> {
        prefix(self.get(keyword)?, self.inet6)
    }

    /// A single address among the values.
    pub fn address(&self, keyword: &str) -> Option<IpAddr> {
        self.prefix(keyword).filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr())
    }

    /// Does the route lead everywhere (`default`, `0.0.0.0/0`)?
    pub fn is_default(&self) -> bool {
        self.prefix("to").is_some_and(|net| net.prefix_len() == 0)
    }

    pub fn priority(&self) -> Option<u32> {
        number(self.get("priority")?)
    }

    /// As it was written, or as it was probably meant, on one line.
    pub fn text(&self) -> String {
        match self.refused.as_ref().and_then(|refused| refused.corrected.as_ref()) {
            Some(corrected) => corrected.clone(),
            None => self.words.join(" "),
        }
    }

    /// The same with another verb, for the opposite of a command.
    pub fn with_verb(&self, verb: &str) -> String {
        let own = format!(" {} ", self.words[self.verb_at]);
        self.text().replacen(&own, &format!(" {verb} "), 1)
    }

    /// A keyword and its value as they were written, to be pointed at; empty where it is not given.
    pub fn said(&self, name: &str) -> String {
        let keywords: &[Keyword] = if self.object == Object::Rule { &RULE } else { &ROUTE };
        let is_it = |pair: &&[String]| keyword(&pair[0], keywords).is_some_and(|(_, _, known, _)| *known == name);
        self.words.windows(2).rfind(is_it).map_or(String::new(), |pair| pair.join(" "))
    }

    /// Puts another value in the place of what a keyword has, if it is given.
    pub fn set(&mut self, name: &'static str, value: &str) {
        let keywords: &[Keyword] = if self.object == Object::Rule { &RULE } else { &ROUTE };
        let text = self.text();
        let mut words: Vec<&str> = text.split(' ').collect();
        let is_it = |word: &&str| keyword(word, keywords).is_some_and(|(_, _, known, _)| *known == name);
        let Some(at) = words.iter().rposition(is_it).filter(|at| at + 1 < words.len()) else { return };
        words[at + 1] = value;
        match &mut self.refused {
            Some(Refused { corrected: Some(corrected), .. }) => *corrected = words.join(" "),
            _ => self.words = words.into_iter().map(String::from).collect(),
        }
        self.given.insert(name, value.to_string());
    }

    /// Its text with another value in that place.
    pub fn with_value(&self, keyword: &'static str, value: &str) -> String {
        let mut other = self.clone();
        other.set(keyword, value);
        other.text()
    }
}

/// The commands of one `up` or `down` value. `variable` knows what `$IFACE` and the like stand for.
pub fn commands(line: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<Command> {
    let mut found = Vec::new();
    // `sh -c "sh -c '…'"`: each level is shorter than the one around it, but need not be followed for ever.
    gather(line, variable, true, 4, &mut found);
    found
}

fn gather(line: &str, variable: &dyn Fn(&str) -> Option<String>, heeded: bool, depth: usize, found: &mut Vec<Command>) {
    let segments = shell(line);
    let mut compound = false;
    for segment in &segments {
        let first = segment.words.first().map(String::as_str).unwrap_or_default();
        compound |= matches!(first, "if" | "elif" | "while" | "until" | "for" | "case");
        let words = &segment.words[segment.words.iter().take_while(|word| introduces(word)).count()..];
        let heeded = heeded && segment.heeded;
        if let [program, option, script, ..] = words {
            if matches!(program.rsplit('/').next(), Some("sh" | "dash" | "bash")) && option == "-c" && depth > 0 {
                gather(script, variable, heeded, depth - 1, found);
                continue;
            }
        }
        let expanded: Vec<String> = words.iter().map(|word| expand(word, variable)).collect();
        if let Some(mut command) = ip(words, &expanded).or_else(|| net_tools::route(words, &expanded)) {
            command.heeded = heeded;
            command.conditional = compound || segment.before != Joint::End;
            if let Some(word) = &segment.placeholder {
                command.refused = Some(Refused {
                    word: word.clone(),
                    why: format!("'{word}' is a placeholder, and the shell takes '<' and '>' for redirections"),
                    exit: 2,
                    corrected: None,
                });
            }
            found.push(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str) -> Vec<Command> {
        commands(line, &|name| (name == "IFACE").then(|| "eth1".to_string()))
    }

    fn one(line: &str) -> Command {
        let mut found = all(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn ip_as_people_write_it() {
        let rule = one("/sbin/ip ru add from 192.0.2.10/32 table isp1 prio 100 || true");
        assert_eq!((rule.object, rule.verb), (Object::Rule, Verb::Add));
        assert_eq!((rule.get("table"), rule.priority()), (Some("isp1"), Some(100)));
        assert_eq!(rule.address("from"), "192.0.2.10".parse().ok());
        assert!(!rule.heeded && !rule.conditional && rule.refused.is_none());
        let route = one("ip -6 r a default via fe80::1 dev ${IFACE} tab 7 2>/dev/null");
        assert_eq!((route.object, route.get("dev"), route.get("table")), (Object::Route, Some("eth1"), Some("7")));
        assert!(route.inet6 && route.adds() && route.is_default() && route.heeded);
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
    fn what_the_shell_makes_of_a_line() {
        let flags = |line: &str| all(line).iter().map(|it| (it.heeded, it.conditional)).collect::<Vec<_>>();
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
    fn what_ip_refuses() {
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
            let refused = one(line).refused.unwrap_or_else(|| panic!("taken: {line}"));
            assert_eq!((refused.exit, refused.corrected.as_deref()), (exit, corrected), "{line}");
        }
        for line in [
            "ip rule add from $ADDRESS table $TABLE",
            "ip rule add from 192.0.2 table 5 prio 0x64 unreachable",
            "ip route add to blackhole 192.0.2.0/255.255.255.0 table 5 mtu lock 1400",
            "ip route add default via inet6 2001:db8::1 onlink t 5",
        ] {
            assert_eq!(one(line).refused, None, "{line}");
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
    fn default_routes_of_net_tools() {
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
        for line in
            ["route -n", "route add -host 192.0.2.9 gw 192.0.2.1", "route add 0.0.0.0 gw 192.0.2.1", "route add"]
        {
            assert_eq!(all(line), [], "{line}");
        }
        let meets = |line: &str| one(line).meets_its_like();
        assert_eq!(meets("ip r a default via 192.0.2.1"), Meeting::Fails);
        assert_eq!(meets("ip route replace default via 192.0.2.1"), Meeting::Replaces);
        assert_eq!(meets("ip -6 route append default via fe80::1 dev eth0"), Meeting::Joins);
        assert_eq!(meets("route add default gw 192.0.2.1"), Meeting::Joins);
    }

    #[test]
    fn what_is_no_ip_command() {
        for line in ["echo ip rule add", "ip link set eth1 up", "# ip rule add from x", "ip", "ip rule", "'ip rule", ""]
        {
            assert_eq!(all(line), [], "{line}");
        }
        assert_eq!(all("ip -n other rule add from 192.0.2.1 table 5"), []);
    }

    #[test]
    fn a_line_of_any_length() {
        for (joint, count) in [(" && ", 50_000), (" || ", 5_000), ("; ", 5_000), (" | ", 5_000)] {
            let found = all(&vec!["ip rule add from 192.0.2.1 table 1"; count].join(joint));
            assert_eq!(found.len(), count, "{joint}");
            assert_eq!((found[0].heeded, found[count - 1].heeded), (joint == " && ", true), "{joint}");
        }
        assert_eq!(all(&"sh -c '".repeat(100_000)), []);
        for opening in ["{ ", "${", "$", "'", "\"", "<a", "\\", "2>"] {
            assert_eq!(all(&opening.repeat(100_000)), [], "{opening}");
            all(&format!("ip rule add from 192.0.2.1 table {}", opening.repeat(100_000)));
        }
        assert!(one(&format!("ip rule add from 192.0.2.1 table 1{}", "; fi".repeat(100_000))).heeded);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            all(&line);
        }
    }
}

//! The `ip rule`, `ip route` and `ip address` commands in a stanza's `up` and `down` lines.
//!
//! ifupdown hands these lines to `/bin/sh`. This understands as much shell as people write there: commands
//! joined by `;`, `&&`, `||` or `|`, quotes, `$IFACE`, redirections; and `ip` as iproute2 takes it, with its
//! abbreviations (ip.c `do_cmd`, iprule.c, iproute.c).

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take};
use nom::character::complete::{char, space0};
use nom::combinator::{map, opt, rest, value};
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded};

/// A command that changes rules, routes or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Rule(Policy),
    Route(Policy),
    /// An address with or without its prefix length, as written.
    Address(Policy),
}

/// The words of such a command that matter here, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `-6` or an address with a colon in it.
    pub inet6: bool,
    /// It adds (or replaces), it does not take away.
    pub adds: bool,
    pub table: Option<String>,
    pub priority: Option<String>,
    pub from: Option<String>,
    pub via: Option<String>,
    pub dev: Option<String>,
    pub suppress_prefixlength: Option<String>,
    /// Route destination, or the address itself.
    pub what: Option<String>,
}

/// The commands of one `up` or `down` value; `interface` is what `$IFACE` stands for.
pub fn commands(line: &str, interface: &str) -> Vec<Command> {
    shell(line).iter().filter_map(|words| ip(&expand(words, interface))).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// The file name that follows belongs to it.
    Redirect,
    End,
}

fn shell(line: &str) -> Vec<Vec<String>> {
    type Out<'a, T> = nom::IResult<&'a str, T>;
    fn quoted(input: &str) -> Out<'_, String> {
        let single = delimited(char('\''), map(opt(is_not("'")), Option::unwrap_or_default), char('\''));
        let double = delimited(char('"'), map(opt(is_not("\"")), Option::unwrap_or_default), char('"'));
        map(alt((single, double)), str::to_string).parse(input)
    }
    fn part(input: &str) -> Out<'_, String> {
        let escaped = map(preceded(char('\\'), take(1usize)), str::to_string);
        let plain = map(is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}"), str::to_string);
        // `${IFACE}` has braces inside a word.
        let variable = map(delimited(tag("${"), is_not("}"), char('}')), |name: &str| format!("${name}"));
        let before_variable = map(is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$"), str::to_string);
        alt((quoted, escaped, variable, before_variable, plain)).parse(input)
    }
    fn word(input: &str) -> Out<'_, Token> {
        let (input, first) = part(input)?;
        map(fold_many0(part, move || first.clone(), |word, part| word + &part), Token::Word).parse(input)
    }
    fn token(input: &str) -> Out<'_, Token> {
        let redirect = value(Token::Redirect, alt((tag(">>"), tag(">&"), tag("<"), tag(">"))));
        let comment = value(Token::End, (char('#'), rest));
        // Anything else ends a command; a stray quote too, so that every input comes to an end.
        let end = value(Token::End, take(1usize));
        delimited(space0, alt((comment, redirect, word, end)), space0).parse(input)
    }
    let tokens = many0(token).parse(line).map_or_else(|_| Vec::new(), |(_, tokens)| tokens);
    let mut commands = vec![Vec::new()];
    let mut skip = false;
    for token in tokens {
        let current = commands.last_mut();
        match (token, current) {
            (Token::Word(_), _) if skip => skip = false,
            (Token::Word(word), Some(current)) => current.push(word),
            (Token::Redirect, current) => {
                // `2>/dev/null`: the number belongs to the redirection.
                if let Some(current) = current {
                    if current.last().is_some_and(|word| word.len() == 1 && word.as_bytes()[0].is_ascii_digit()) {
                        current.pop();
                    }
                }
                skip = true;
            }
            (Token::End, _) => {
                skip = false;
                commands.push(Vec::new());
            }
            (Token::Word(_), None) => {}
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

fn expand(words: &[String], interface: &str) -> Vec<String> {
    const BEFORE: [&str; 9] = ["if", "then", "else", "do", "!", "sudo", "exec", "command", "-"];
    words
        .iter()
        .skip_while(|word| BEFORE.contains(&word.as_str()))
        .map(|word| word.replace("$IFACE", interface))
        .collect()
}

/// iproute2's `matches()`: a word is taken for the first keyword that it begins.
fn keyword<'a>(word: &str, keywords: &[&'a str]) -> Option<&'a str> {
    keywords.iter().find(|keyword| keyword.starts_with(word)).copied()
}

fn ip(words: &[String]) -> Option<Command> {
    let (program, mut words) = words.split_first()?;
    if !matches!(program.as_str(), "ip" | "/sbin/ip" | "/bin/ip" | "/usr/sbin/ip" | "/usr/bin/ip") {
        return None;
    }
    let mut policy = Policy::default();
    while let Some((option, after)) = words.split_first().filter(|(word, _)| word.starts_with('-')) {
        words = after;
        match option.trim_start_matches('-') {
            "6" => policy.inet6 = true,
            option if option.len() > 1 && "family".starts_with(option) || option == "f" => {
                let (family, after) = words.split_first()?;
                policy.inet6 = family == "inet6";
                words = after;
            }
            _ => {}
        }
    }
    let (object, words) = words.split_first()?;
    // ip.c's order: the first that the word begins.
    let object = keyword(object, &["address", "addrlabel", "maddress", "route", "rule", "neighbor", "link"])?;
    let (verb, mut words) = match words.split_first() {
        Some((verb, words)) => (verb.as_str(), words),
        None => return None,
    };
    let verb = keyword(verb, &["add", "append", "change", "replace", "prepend", "delete", "flush"])?;
    policy.adds = !matches!(verb, "delete" | "flush");
    while let Some((name, after)) = words.split_first() {
        let slot = match name.as_str() {
            "from" => &mut policy.from,
            "via" => {
                // `via inet6 ADDR`
                if let Some((_, after)) = after.split_first().filter(|(word, _)| word.starts_with("inet")) {
                    words = after;
                    policy.via = after.first().cloned();
                    continue;
                }
                &mut policy.via
            }
            "dev" | "oif" | "iif" => &mut policy.dev,
            "lookup" => &mut policy.table,
            "suppress_prefixlength" | "sup_pl" => &mut policy.suppress_prefixlength,
            name if name.len() > 1 && "table".starts_with(name) => &mut policy.table,
            "order" => &mut policy.priority,
            name if "preference".starts_with(name) || "priority".starts_with(name) => &mut policy.priority,
            "to" | "src" | "proto" | "protocol" | "scope" | "metric" | "fwmark" | "label" | "broadcast" | "brd"
            | "peer" | "mtu" | "weight" => {
                if name == "to" {
                    policy.what = after.first().cloned();
                }
                words = after.get(1..).unwrap_or_default();
                continue;
            }
            _ => {
                if policy.what.is_none() && !matches!(name.as_str(), "not" | "all" | "unicast") {
                    policy.what = Some(name.clone());
                }
                words = after;
                continue;
            }
        };
        *slot = after.first().cloned();
        words = after.get(1..).unwrap_or_default();
    }
    policy.inet6 |= [&policy.from, &policy.via, &policy.what].into_iter().flatten().any(|word| word.contains(':'));
    match object {
        "rule" => Some(Command::Rule(policy)),
        "route" => Some(Command::Route(policy)),
        "address" => Some(Command::Address(policy)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Command {
        let mut found = commands(line, "eth1");
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn ip_as_people_write_it() {
        let Command::Rule(rule) = one("/sbin/ip ru add from 192.0.2.10/32 table isp1 prio 100 || true") else {
            panic!("a rule")
        };
        assert_eq!(rule.table.as_deref(), Some("isp1"));
        assert_eq!(rule.priority.as_deref(), Some("100"));
        assert_eq!(rule.from.as_deref(), Some("192.0.2.10/32"));
        let Command::Route(route) = one("ip -6 r a default via fe80::1 dev ${IFACE} tab 7 2>/dev/null") else {
            panic!("a route")
        };
        assert_eq!((route.dev.as_deref(), route.table.as_deref()), (Some("eth1"), Some("7")));
        assert!(route.inet6 && route.adds);
        assert_eq!(route.what.as_deref(), Some("default"));
        assert_eq!(commands("ip ro flush table 2; ip rule del from 192.0.2.1 && echo ip rule", "x").len(), 2);
        let Command::Address(address) = one("ip addr add 192.0.2.11/24 dev $IFACE label $IFACE:1") else {
            panic!("an address")
        };
        assert_eq!(address.what.as_deref(), Some("192.0.2.11/24"));
    }

    #[test]
    fn what_is_no_ip_command() {
        for line in ["echo ip rule add", "ip link set eth1 up", "# ip rule add from x", "ip", "ip rule", "'ip rule", ""]
        {
            assert_eq!(commands(line, "eth1"), [], "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            commands(&line, "eth1");
        }
    }
}

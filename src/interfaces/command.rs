//! The `ip rule`, `ip route` and `ip address` commands in a stanza's `up` and `down` lines.
//!
//! ifupdown hands these lines to `/bin/sh`. This understands as much shell as people write there: commands
//! joined by `;`, `&&`, `||` or `|`, `sh -c`, quotes, variables, redirections; and `ip` as iproute2 takes it,
//! with its abbreviations (ip.c `do_cmd`, iprule.c `iprule_modify`, iproute.c `iproute_modify`). The laboratory
//! holds it against the real `ip`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take};
use nom::character::complete::{char, digit0, space0};
use nom::combinator::{map, opt, recognize, rest, value};
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded};

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
    pub mended: Option<String>,
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
        match self.refused.as_ref().and_then(|refused| refused.mended.as_ref()) {
            Some(mended) => mended.clone(),
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
            Some(Refused { mended: Some(mended), .. }) => *mended = words.join(" "),
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
    for (at, segment) in segments.iter().enumerate() {
        let first = segment.words.first().map(String::as_str).unwrap_or_default();
        compound |= matches!(first, "if" | "elif" | "while" | "until" | "for" | "case");
        let words = &segment.words[segment.words.iter().take_while(|word| introduces(word)).count()..];
        let heeded = heeded && is_heeded(&segments, at);
        if let [program, option, script, ..] = words {
            if matches!(program.rsplit('/').next(), Some("sh" | "dash" | "bash")) && option == "-c" && depth > 0 {
                gather(script, variable, heeded, depth - 1, found);
                continue;
            }
        }
        let expanded: Vec<String> = words.iter().map(|word| expand(word, variable)).collect();
        if let Some(mut command) = ip(words, &expanded) {
            command.heeded = heeded;
            command.conditional = compound || segment.before != Joint::End;
            if let Some(word) = &segment.placeholder {
                command.refused = Some(Refused {
                    word: word.clone(),
                    why: format!("'{word}' is a placeholder, and the shell takes '<' and '>' for redirections"),
                    exit: 2,
                    mended: None,
                });
            }
            found.push(command);
        }
    }
}

/// Reserved words and the like that may stand before a command.
fn introduces(word: &str) -> bool {
    const BEFORE: [&str; 15] = [
        "if", "then", "else", "elif", "do", "while", "until", "!", "sudo", "exec", "command", "time", "env", "nohup",
        "-",
    ];
    let assigns = word.split_once('=').is_some_and(|(name, _)| is_name(name));
    BEFORE.contains(&word) || assigns
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// Does the line fail when this command does?
fn is_heeded(segments: &[Segment], at: usize) -> bool {
    match segments[at].after {
        Joint::And if at + 1 < segments.len() => is_heeded(segments, at + 1),
        Joint::Or => false,
        _ => segments[at + 1..].iter().all(|rest| matches!(&rest.words[..], [end] if matches!(end.as_str(), "fi"))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
    /// `;`, `|`, `&`, a bracket, or the end of the line.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `<NAME>`, as documentation has it.
    Placeholder(String),
    /// The file name that follows belongs to it.
    Redirect,
    Joint(Joint),
}

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    words: Vec<String>,
    placeholder: Option<String>,
    before: Joint,
    after: Joint,
}

fn shell(line: &str) -> Vec<Segment> {
    type Out<'a, T> = nom::IResult<&'a str, T>;
    const SPECIAL: &str = " \t\n\r\x0b\x0c'\"\\;&|<>(){}";
    fn part(input: &str) -> Out<'_, String> {
        let single = delimited(char('\''), map(opt(is_not("'")), Option::unwrap_or_default), char('\''));
        let double = delimited(char('"'), map(opt(is_not("\"")), Option::unwrap_or_default), char('"'));
        let escaped = preceded(char('\\'), take(1usize));
        // `${IFACE}` has braces inside a word.
        let variable = recognize((tag("${"), is_not("}"), char('}')));
        let plain = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$");
        let dollar = is_not(SPECIAL);
        map(alt((single, double, escaped, variable, plain, dollar)), str::to_string).parse(input)
    }
    fn word(input: &str) -> Out<'_, Token> {
        let (input, first) = part(input)?;
        map(fold_many0(part, move || first.clone(), |word, part| word + &part), Token::Word).parse(input)
    }
    fn token(input: &str) -> Out<'_, Token> {
        let name = is_not(" \t\n\r\x0b\x0c'\"\\;&|<>(){}$/");
        let placeholder = map(recognize((char('<'), name, char('>'))), |word: &str| Token::Placeholder(word.into()));
        // `2>/dev/null`: the number belongs to the redirection, if nothing stands between.
        let operator = alt((tag(">>"), tag(">&"), tag("<&"), tag("<"), tag(">")));
        let redirect = value(Token::Redirect, (digit0, operator));
        let and = value(Token::Joint(Joint::And), tag("&&"));
        let or = value(Token::Joint(Joint::Or), tag("||"));
        let comment = value(Token::Joint(Joint::End), (char('#'), rest));
        // Anything else ends a command; a stray quote too, so that every input comes to an end.
        let end = value(Token::Joint(Joint::End), take(1usize));
        delimited(space0, alt((comment, placeholder, redirect, and, or, word, end)), space0).parse(input)
    }
    let tokens = many0(token).parse(line).map_or_else(|_| Vec::new(), |(_, tokens)| tokens);
    let mut segments: Vec<Segment> = Vec::new();
    let (mut words, mut placeholder, mut before, mut skip) = (Vec::new(), None, Joint::End, false);
    for token in tokens.into_iter().chain([Token::Joint(Joint::End)]) {
        match token {
            Token::Word(_) if skip => skip = false,
            Token::Word(word) => words.push(word),
            Token::Placeholder(word) => {
                placeholder.get_or_insert(word.clone());
                words.push(word);
            }
            Token::Redirect => skip = true,
            Token::Joint(joint) if words.is_empty() => {
                // A bracket beside `&&` or `||` does not undo it.
                if joint != Joint::End {
                    before = joint;
                    if let Some(last) = segments.last_mut() {
                        last.after = joint;
                    }
                }
            }
            Token::Joint(after) => {
                let words = std::mem::take(&mut words);
                segments.push(Segment { words, placeholder: placeholder.take(), before, after });
                (before, skip) = (after, false);
            }
        }
    }
    segments
}

fn expand(word: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match variable(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[at..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    out + rest
}

/// What follows a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// `lock` may come before the value.
    Lockable,
    Number,
    Mark,
    Prefix,
    /// The family may come before the value.
    Gateway,
    Address,
    Link,
}

/// A keyword as iproute2 spells it, whether it may be abbreviated, its name here, and what follows it.
type Keyword = (&'static str, bool, &'static str, Takes);

/// In the order of iprule.c, where the first that matches wins: `t` is `tun_id`, `ta` is `table`.
const RULE: [Keyword; 29] = [
    ("not", false, "not", Takes::Nothing),
    ("from", false, "from", Takes::Prefix),
    ("to", false, "to", Takes::Prefix),
    ("preference", true, "priority", Takes::Number),
    ("order", true, "priority", Takes::Number),
    ("priority", true, "priority", Takes::Number),
    ("tos", false, "tos", Takes::Value),
    ("dsfield", true, "tos", Takes::Value),
    ("fwmark", false, "fwmark", Takes::Mark),
    ("realms", true, "realms", Takes::Value),
    ("protocol", true, "protocol", Takes::Value),
    ("tun_id", true, "tun_id", Takes::Number),
    ("table", true, "table", Takes::Value),
    ("lookup", false, "table", Takes::Value),
    ("suppress_prefixlength", true, "suppress_prefixlength", Takes::Number),
    ("sup_pl", false, "suppress_prefixlength", Takes::Number),
    ("suppress_ifgroup", true, "suppress_ifgroup", Takes::Value),
    ("sup_group", false, "suppress_ifgroup", Takes::Value),
    ("dev", false, "iif", Takes::Link),
    ("iif", false, "iif", Takes::Link),
    ("oif", false, "oif", Takes::Link),
    ("l3mdev", false, "l3mdev", Takes::Nothing),
    ("uidrange", false, "uidrange", Takes::Value),
    ("nat", false, "nat", Takes::Value),
    ("map-to", true, "nat", Takes::Value),
    ("ipproto", false, "ipproto", Takes::Value),
    ("sport", false, "sport", Takes::Value),
    ("dport", false, "dport", Takes::Value),
    ("dscp", false, "dscp", Takes::Value),
];

/// In the order of iproute.c.
const ROUTE: [Keyword; 35] = [
    ("src", false, "src", Takes::Address),
    ("as", false, "as", Takes::Value),
    ("via", false, "via", Takes::Gateway),
    ("from", false, "from", Takes::Prefix),
    ("tos", false, "tos", Takes::Value),
    ("dsfield", true, "tos", Takes::Value),
    ("expires", false, "expires", Takes::Value),
    ("metric", true, "metric", Takes::Number),
    ("priority", true, "metric", Takes::Number),
    ("preference", false, "metric", Takes::Number),
    ("scope", false, "scope", Takes::Value),
    ("mtu", false, "mtu", Takes::Lockable),
    ("hoplimit", false, "hoplimit", Takes::Lockable),
    ("advmss", false, "advmss", Takes::Lockable),
    ("reordering", true, "reordering", Takes::Lockable),
    ("rtt", false, "rtt", Takes::Lockable),
    ("rto_min", false, "rto_min", Takes::Value),
    ("window", false, "window", Takes::Lockable),
    ("cwnd", true, "cwnd", Takes::Lockable),
    ("initcwnd", true, "initcwnd", Takes::Lockable),
    ("initrwnd", true, "initrwnd", Takes::Lockable),
    ("features", true, "features", Takes::Value),
    ("quickack", true, "quickack", Takes::Value),
    ("congctl", true, "congctl", Takes::Lockable),
    ("rttvar", true, "rttvar", Takes::Lockable),
    ("ssthresh", true, "ssthresh", Takes::Lockable),
    ("realms", true, "realms", Takes::Value),
    ("onlink", false, "onlink", Takes::Nothing),
    ("nhid", false, "nhid", Takes::Value),
    ("protocol", true, "protocol", Takes::Value),
    ("table", true, "table", Takes::Value),
    ("dev", false, "dev", Takes::Value),
    ("oif", false, "dev", Takes::Value),
    ("pref", true, "pref", Takes::Value),
    ("ttl-propagate", false, "ttl-propagate", Takes::Value),
];

/// Those of `ip address` that have a value; its flags have none.
const ADDRESS: [Keyword; 13] = [
    ("local", false, "to", Takes::Value),
    ("dev", false, "dev", Takes::Value),
    ("peer", false, "peer", Takes::Value),
    ("remote", false, "peer", Takes::Value),
    ("broadcast", true, "broadcast", Takes::Value),
    ("brd", false, "broadcast", Takes::Value),
    ("anycast", true, "anycast", Takes::Value),
    ("scope", false, "scope", Takes::Value),
    ("label", false, "label", Takes::Value),
    ("metric", false, "metric", Takes::Value),
    ("valid_lft", false, "valid_lft", Takes::Value),
    ("preferred_lft", false, "preferred_lft", Takes::Value),
    ("proto", false, "proto", Takes::Value),
];

/// iproute2's `matches()`: an abbreviation is taken for the first keyword that it begins.
fn abbreviated<'a>(word: &str, keywords: &[&'a str]) -> Option<&'a str> {
    keywords.iter().find(|keyword| !word.is_empty() && keyword.starts_with(word)).copied()
}

fn keyword<'a>(word: &str, keywords: &'a [Keyword]) -> Option<&'a Keyword> {
    keywords
        .iter()
        .find(|(name, abbreviates, ..)| *name == word || *abbreviates && !word.is_empty() && name.starts_with(word))
}

/// `rtnl_rtntype_a2n`: the types of routes, which rules may have too.
fn is_type(word: &str) -> bool {
    const SHORT: [&str; 8] =
        ["broadcast", "anycast", "multicast", "prohibit", "unreachable", "blackhole", "xresolve", "unicast"];
    matches!(word, "local" | "nat" | "brd")
        || abbreviated(word, &SHORT).is_some()
        || abbreviated(word, &["throw"]).is_some()
        || number(word).is_some_and(|number| number <= 255)
}

/// A number as C's `strtoul` with base 0 reads it: decimal, `0x` hexadecimal, `0` octal.
pub fn number(text: &str) -> Option<u32> {
    let (digits, base) = match (text.strip_prefix("0x").or(text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, base).ok() }
}

/// An address as iproute2 reads it (utils.c `get_addr_ipv4`): `10` is 10.0.0.0, and `192.0.2` is 192.0.2.0.
pub fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        match parts.next() {
            Some(part) => *octet = u8::try_from(number(part)?).ok()?,
            None => break,
        }
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A prefix as iproute2 reads it (utils.c `get_prefix_1`): a single address, `ADDR/LENGTH`, `ADDR/MASK`,
/// `default`, `any` or `all`. Host bits stay.
pub fn prefix(text: &str, inet6: bool) -> Option<IpNet> {
    if matches!(text, "default" | "any" | "all") {
        let everything = if inet6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        return IpNet::new(everything, 0).ok();
    }
    let Some((text, length)) = text.split_once('/') else { return address(text).map(IpNet::from) };
    let length = match number(length) {
        Some(length) => u8::try_from(length).ok(),
        None => address(length).and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok()),
    };
    IpNet::new(address(text)?, length?).ok()
}

/// A command that is being read.
struct Reading<'a> {
    /// As they were written, and as the shell gives them to `ip`.
    written: &'a [String],
    words: &'a [String],
    at: usize,
    inet6: Option<bool>,
    given: BTreeMap<&'static str, String>,
    refused: Option<Refused>,
}

impl Reading<'_> {
    fn refuse(&mut self, exit: u8, word: &str, why: String, mended: Option<Vec<&str>>) {
        let mended = mended.map(|words| words.join(" "));
        self.refused.get_or_insert(Refused { word: word.to_string(), why, exit, mended });
    }

    /// The command with the words of `range` replaced by others.
    fn with<'w>(&'w self, range: std::ops::Range<usize>, others: &[&'w str]) -> Vec<&'w str> {
        let text = |words: &'w [String]| words.iter().map(String::as_str).collect::<Vec<_>>();
        [&text(&self.written[..range.start])[..], others, &text(&self.written[range.end..])[..]].concat()
    }

    fn next(&mut self) -> Option<String> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn value(&mut self, keyword: &str) -> Option<String> {
        let value = self.next();
        if value.is_none() {
            self.refuse(255, keyword, format!("'{keyword}' wants a value"), None);
        }
        value
    }

    fn family(&self) -> &'static str {
        match self.inet6 {
            None => "",
            Some(false) => "IPv4 ",
            Some(true) => "IPv6 ",
        }
    }

    /// Is the value what its keyword takes? Variables that nobody knows are passed over.
    fn check(&mut self, takes: Takes, keyword: &str, value: &str) {
        if value.contains(['$', '`', '<']) {
            return;
        }
        let of_family =
            |net: &IpNet| net.prefix_len() == 0 || self.inet6.is_none_or(|inet6| inet6 == net.addr().is_ipv6());
        let right = match takes {
            Takes::Prefix => prefix(value, self.inet6 == Some(true)).as_ref().is_some_and(of_family),
            Takes::Address | Takes::Gateway => address(value).map(IpNet::from).as_ref().is_some_and(of_family),
            _ => true,
        };
        if !right {
            let what = if takes == Takes::Prefix { "address or network" } else { "address" };
            let why = format!("'{value}' is no {}{what}", self.family());
            self.refuse(1, value, why, None);
        }
        let is_number = match takes {
            Takes::Number => number(value).is_some(),
            Takes::Mark => value.splitn(2, '/').all(|part| number(part).is_some()),
            _ => true,
        };
        if !is_number {
            self.refuse(255, value, format!("'{value}' is no number for '{keyword}'"), None);
        }
        if takes == Takes::Link && (value.is_empty() || value.len() > 15 || value.contains('/')) {
            self.refuse(255, value, format!("'{value}' is no name that a link can have"), None);
        }
    }

    fn keyword(&mut self, (_, _, name, takes): Keyword, as_written: &str, keywords: &[Keyword]) {
        if takes == Takes::Nothing {
            self.given.insert(name, String::new());
            return;
        }
        let at = self.at;
        let Some(mut value) = self.value(as_written) else { return };
        let family = takes == Takes::Gateway && matches!(value.as_str(), "inet" | "inet6");
        if family || takes == Takes::Lockable && value == "lock" || name == "as" && value == "to" {
            match self.value(as_written) {
                Some(after) => value = after,
                None => return,
            }
        }
        // `from fwmark 1`, `lookup table isp1`: a keyword too many.
        let doubled = keyword(&value, keywords).is_some_and(|(other, ..)| *other == value && *other != "dev");
        if doubled && (takes == Takes::Prefix || name == "table") {
            let exit = if takes == Takes::Prefix { 1 } else { 255 };
            let range = if name == "table" { at..at + 1 } else { at - 1..at };
            let mended = self.with(range, &[]).into_iter().map(String::from).collect::<Vec<_>>();
            let why = format!("'{as_written}' and '{value}' do not go together");
            let mended = mended.iter().map(String::as_str).collect();
            self.refuse(exit, &format!("{as_written} {value}"), why, Some(mended));
            if name == "table" {
                if let Some(table) = self.next() {
                    self.given.insert(name, table);
                }
            } else {
                self.at = at;
            }
            return;
        }
        self.check(takes, as_written, &value);
        self.given.insert(name, value);
    }

    fn rule(&mut self) {
        while let Some(word) = self.next() {
            if let Some(found) = keyword(&word, &RULE) {
                self.keyword(*found, &word, &RULE);
                continue;
            }
            let word = match word.as_str() {
                "type" => match self.value("type") {
                    Some(word) => word,
                    None => return,
                },
                _ => word,
            };
            if abbreviated(&word, &["goto"]).is_some() {
                let target = self.value("goto");
                self.given.extend(target.map(|target| ("goto", target)));
            } else if abbreviated(&word, &["nop"]).is_some() || is_type(&word) {
                self.given.insert("type", word);
            } else if !word.contains(['$', '`', '<']) {
                let at = self.at - 1;
                let without_table = !self.words.iter().any(|word| matches!(word.as_str(), "table" | "lookup"));
                let mended = without_table.then(|| {
                    let more = self.written[at].clone();
                    [&self.with(at..self.words.len(), &[])[..], &["table", &more]].concat().join(" ")
                });
                let why = format!("'ip rule' does not know the word '{word}'");
                self.refused.get_or_insert(Refused { word, why, exit: 255, mended });
                // What comes behind it is anybody's guess.
                return;
            }
        }
        // The family is that of the option, whatever the addresses are.
        let wrong = ["from", "to"].into_iter().find(|side| self.given.get(side).is_some_and(|net| net.contains(':')));
        if let (None, Some(side)) = (self.inet6, wrong) {
            let word = self.given[side].clone();
            let mended = self.with(1..1, &["-6"]).join(" ");
            let why = format!("'{word}' is an IPv6 address, and 'ip rule' without '-6' makes IPv4 rules");
            self.refused.get_or_insert(Refused { word, why, exit: 2, mended: Some(mended) });
        }
    }

    fn route(&mut self) {
        while let Some(word) = self.next() {
            if matches!(word.as_str(), "nexthop" | "encap") {
                // Several ways, or a tunnel: more than matters here.
                self.given.insert("nexthop", String::new());
                for pair in self.words[self.at.min(self.words.len())..].windows(2) {
                    match pair[0].as_str() {
                        "via" => _ = self.given.entry("via").or_insert(pair[1].clone()),
                        "dev" => _ = self.given.entry("dev").or_insert(pair[1].clone()),
                        _ => {}
                    }
                }
                return;
            }
            if word == "fastopen_no_cookie" {
                self.next();
                continue;
            }
            if let Some(found) = keyword(&word, &ROUTE) {
                self.keyword(*found, &word, &ROUTE);
                continue;
            }
            let mut word = match word.as_str() {
                "to" => match self.value("to") {
                    Some(word) => word,
                    None => return,
                },
                _ => word,
            };
            if is_type(&word) && !word.starts_with(|c: char| c.is_ascii_digit()) {
                self.given.insert("type", word.clone());
                match self.value(&word) {
                    Some(after) => word = after,
                    None => return,
                }
            }
            if word == "lookup" && self.given.contains_key("to") {
                let at = self.at - 1;
                let mended = self.with(at..at + 1, &["table"]).join(" ");
                let why = "'lookup' belongs to 'ip rule'; 'ip route' says 'table'".to_string();
                self.refused.get_or_insert(Refused { word, why, exit: 255, mended: Some(mended) });
                let table = self.next();
                self.given.extend(table.map(|table| ("table", table)));
                continue;
            }
            if self.given.contains_key("to") && !word.contains(['$', '`']) {
                self.refuse(255, &word, format!("'ip route' does not know the word '{word}'"), None);
                return;
            }
            self.check(Takes::Prefix, "to", &word);
            let host_bits = prefix(&word, false).filter(|net| net.addr().is_ipv4() && net.addr() != net.network());
            if let Some(net) = host_bits {
                let at = self.at - 1;
                let network = net.trunc().to_string();
                let mended = self.with(at..at + 1, &[&network]).join(" ");
                let why = format!("'{word}' is an address within a network, and a route leads to the network itself");
                let word = word.clone();
                self.refused.get_or_insert(Refused { word, why, exit: 2, mended: Some(mended) });
            }
            self.given.insert("to", word);
        }
    }

    /// Destination, gateway and source are of one family, unless the gateway's is named.
    fn one_family(&mut self) {
        let named = self.words.iter().any(|word| matches!(word.as_str(), "inet" | "inet6"));
        let families = ["to", "via", "src"].into_iter().filter_map(|name| {
            let net = prefix(self.given.get(name)?, false).filter(|net| net.prefix_len() > 0)?;
            Some((name, net.addr().is_ipv6()))
        });
        let families: Vec<_> = families.collect();
        let other = families.iter().find(|(_, inet6)| *inet6 != families[0].1);
        if let (Some((name, _)), false) = (other, named) {
            let word = self.given[name].clone();
            let why = format!("'{word}' is of another family than '{}'", self.given[families[0].0]);
            self.refuse(1, &word, why, None);
        }
    }

    fn address(&mut self) {
        while let Some(word) = self.next() {
            match keyword(&word, &ADDRESS) {
                Some((_, _, name, _)) => {
                    let value = self.next();
                    self.given.extend(value.map(|value| (*name, value)));
                }
                None if word.contains(['.', ':']) => _ = self.given.entry("to").or_insert(word),
                None => {}
            }
        }
    }

    /// `flush` and its filters have a grammar of their own; only the table matters.
    fn flush(&mut self, object: Object) {
        while let Some(word) = self.next() {
            let table = match object {
                Object::Rule => {
                    word.len() > 1 && "table".starts_with(&word) || abbreviated(&word, &["lookup"]).is_some()
                }
                _ => abbreviated(&word, &["table"]).is_some(),
            };
            if table {
                let value = self.next();
                self.given.extend(value.map(|value| ("table", value)));
            }
        }
    }
}

fn ip(written: &[String], words: &[String]) -> Option<Command> {
    let program = words.first()?.as_str();
    let mut reading = Reading { written, words, at: 1, inet6: None, given: BTreeMap::new(), refused: None };
    match program {
        "ip" | "/sbin/ip" | "/bin/ip" | "/usr/sbin/ip" | "/usr/bin/ip" => {}
        "/sbin" | "/bin" | "/usr/sbin" | "/usr/bin" if words.get(1).is_some_and(|word| word == "ip") => {
            reading.at = 2;
            let mended = reading.with(0..2, &[&format!("{program}/ip")]).join(" ");
            let why = format!("'{program}' is a directory, and no program");
            let word = format!("{program} ip");
            reading.refused = Some(Refused { word, why, exit: 126, mended: Some(mended) });
        }
        _ => return None,
    }
    while let Some(option) = words.get(reading.at).filter(|word| word.starts_with('-')) {
        reading.at += 1;
        match option.trim_start_matches('-') {
            "4" => reading.inet6 = Some(false),
            "6" => reading.inet6 = Some(true),
            // Another namespace's rules, or a file's, are not these.
            option if abbreviated(option, &["netns", "batch"]).is_some() => return None,
            option if abbreviated(option, &["family"]).is_some() => reading.inet6 = Some(reading.next()? == "inet6"),
            option if abbreviated(option, &["loops", "rcvbuf"]).is_some() => reading.at += 1,
            _ => {}
        }
    }
    // The first that the word begins, in ip.c's order.
    let object = abbreviated(&reading.next()?, &["address", "addrlabel", "maddress", "route", "rule", "neighbor"])?;
    let object = match object {
        "rule" => Object::Rule,
        "route" => Object::Route,
        "address" => Object::Address,
        _ => return None,
    };
    let verbs: &[&str] = match object {
        Object::Rule => &["list", "lst", "show", "save", "restore", "add", "delete", "flush"],
        Object::Route => &[
            "list", "show", "lst", "add", "change", "chg", "replace", "prepend", "append", "test", "delete", "get",
            "flush",
        ],
        Object::Address => &["add", "change", "chg", "replace", "delete", "show", "lst", "list", "flush"],
    };
    let verb_at = reading.at;
    let verb = match abbreviated(&reading.next()?, verbs)? {
        "add" | "change" | "chg" | "replace" | "prepend" | "append" => Verb::Add,
        "delete" => Verb::Delete,
        "flush" => Verb::Flush,
        _ => return None,
    };
    match (object, verb) {
        (Object::Rule, Verb::Add | Verb::Delete) if reading.at == words.len() => {
            reading.refuse(1, "rule", "'ip rule' wants to know which rule".into(), None);
        }
        (_, Verb::Flush) => reading.flush(object),
        (Object::Rule, _) => reading.rule(),
        (Object::Route, _) => {
            reading.route();
            reading.one_family();
        }
        (Object::Address, _) => reading.address(),
    }
    let Reading { inet6, given, refused, .. } = reading;
    let colon =
        || ["from", "to", "via", "src"].into_iter().filter_map(|name| given.get(name)).any(|it| it.contains(':'));
    let inet6 = inet6.unwrap_or_else(colon);
    let words = written.to_vec();
    Some(Command { object, verb, inet6, given, refused, words, verb_at, heeded: true, conditional: false })
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
        for (line, exit, mended) in [
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
            assert_eq!((refused.exit, refused.mended.as_deref()), (exit, mended), "{line}");
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
    fn what_is_no_ip_command() {
        for line in ["echo ip rule add", "ip link set eth1 up", "# ip rule add from x", "ip", "ip rule", "'ip rule", ""]
        {
            assert_eq!(all(line), [], "{line}");
        }
        assert_eq!(all("ip -n other rule add from 192.0.2.1 table 5"), []);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            all(&line);
        }
    }
}

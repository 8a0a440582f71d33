//! One `ip` command, word by word, as iproute2 takes it (ip.c `do_cmd`, iprule.c `iprule_modify`, iproute.c
//! `iproute_modify`).
//!
//! Where `ip` gives up at the first word that it does not take, this also says what was probably meant.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::keywords::{ADDRESS, Keyword, ROUTE, RULE, Takes, abbreviated, address, is_type, keyword, number, prefix};
use super::{Command, Object, Refused, Verb};

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
    fn refuse(&mut self, exit: u8, word: &str, why: String, corrected: Option<Vec<&str>>) {
        let corrected = corrected.map(|words| words.join(" "));
        self.refused.get_or_insert(Refused { word: word.to_string(), why, exit, corrected });
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
            let corrected = self.with(range, &[]).into_iter().map(String::from).collect::<Vec<_>>();
            let why = format!("'{as_written}' and '{value}' do not go together");
            let corrected = corrected.iter().map(String::as_str).collect();
            self.refuse(exit, &format!("{as_written} {value}"), why, Some(corrected));
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
                let corrected = without_table.then(|| {
                    let more = self.written[at].clone();
                    [&self.with(at..self.words.len(), &[])[..], &["table", &more]].concat().join(" ")
                });
                let why = format!("'ip rule' does not know the word '{word}'");
                self.refused.get_or_insert(Refused { word, why, exit: 255, corrected });
                // What comes behind it is anybody's guess.
                return;
            }
        }
        // The family is that of the option, whatever the addresses are.
        let wrong = ["from", "to"].into_iter().find(|side| self.given.get(side).is_some_and(|net| net.contains(':')));
        if let (None, Some(side)) = (self.inet6, wrong) {
            let word = self.given[side].clone();
            let corrected = self.with(1..1, &["-6"]).join(" ");
            let why = format!("'{word}' is an IPv6 address, and 'ip rule' without '-6' makes IPv4 rules");
            self.refused.get_or_insert(Refused { word, why, exit: 2, corrected: Some(corrected) });
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
                let corrected = self.with(at..at + 1, &["table"]).join(" ");
                let why = "'lookup' belongs to 'ip rule'; 'ip route' says 'table'".to_string();
                self.refused.get_or_insert(Refused { word, why, exit: 255, corrected: Some(corrected) });
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
                let corrected = self.with(at..at + 1, &[&network]).join(" ");
                let why = format!("'{word}' is an address within a network, and a route leads to the network itself");
                let word = word.clone();
                self.refused.get_or_insert(Refused { word, why, exit: 2, corrected: Some(corrected) });
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

pub(super) fn ip(written: &[String], words: &[String]) -> Option<Command> {
    let program = words.first()?.as_str();
    let mut reading = Reading { written, words, at: 1, inet6: None, given: BTreeMap::new(), refused: None };
    match program {
        "ip" | "/sbin/ip" | "/bin/ip" | "/usr/sbin/ip" | "/usr/bin/ip" => {}
        "/sbin" | "/bin" | "/usr/sbin" | "/usr/bin" if words.get(1).is_some_and(|word| word == "ip") => {
            reading.at = 2;
            let corrected = reading.with(0..2, &[&format!("{program}/ip")]).join(" ");
            let why = format!("'{program}' is a directory, and no program");
            let word = format!("{program} ip");
            reading.refused = Some(Refused { word, why, exit: 126, corrected: Some(corrected) });
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

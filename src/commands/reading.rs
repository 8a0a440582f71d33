//! One `ip` command, word by word, as iproute2 reads it (ip.c `do_cmd`, iprule.c `iprule_modify`, iproute.c
//! `iproute_modify`).
//!
//! `ip` aborts at the first invalid word; this also finds the probable correction.

use ipnet::IpNet;

use super::command::{Command, Object, Rejection, Verb};
use super::keywords::{
    ADDRESS, Keyword, ROUTE, RULE, Takes, abbreviated, address, has_colon, is_type, keyword, number, prefix,
};
use super::words::{Given, Word};

/// A command that is being read.
struct Reading<'w, 'a> {
    /// The words as they were written, and as the shell passes them to `ip`.
    written: &'w [Word<'a>],
    words: &'w [Word<'a>],
    /// The position of the next word.
    next: usize,
    inet6: Option<bool>,
    given: Given<'a>,
    rejection: Option<Rejection>,
}

/// Does a variable or a placeholder decide what it is?
fn is_unknown(value: &str) -> bool {
    value.bytes().any(|byte| matches!(byte, b'$' | b'`' | b'<'))
}

impl<'w, 'a> Reading<'w, 'a> {
    fn reject(&mut self, exit: u8, word: &str, why: String, corrected: Option<Vec<&str>>) {
        let corrected = corrected.map(|words| words.join(" "));
        self.rejection.get_or_insert(Rejection { word: word.to_string(), why, exit, corrected });
    }

    /// The command with the words of `range` replaced by others.
    fn with<'t>(&'t self, range: std::ops::Range<usize>, others: &[&'t str]) -> Vec<&'t str> {
        let text = |words: &'t [Word]| words.iter().map(|word| &**word).collect::<Vec<_>>();
        [&text(&self.written[..range.start])[..], others, &text(&self.written[range.end..])[..]].concat()
    }

    fn next(&mut self) -> Option<&'w Word<'a>> {
        let word = self.words.get(self.next);
        self.next += 1;
        word
    }

    fn value(&mut self, keyword: &str) -> Option<&'w Word<'a>> {
        let value = self.next();
        if value.is_none() {
            self.reject(255, keyword, format!("'{keyword}' requires a value"), None);
        }
        value
    }

    /// The next word is the value of a keyword, if there is one.
    fn next_is(&mut self, keyword: &'static str) {
        if let Some(value) = self.next() {
            self.given.insert(keyword, value.clone(), None);
        }
    }

    fn family(&self) -> &'static str {
        match self.inet6 {
            None => "",
            Some(false) => "IPv4 ",
            Some(true) => "IPv6 ",
        }
    }

    /// Is the value valid for its keyword? Unknown variables are skipped.
    fn check(&mut self, takes: Takes, keyword: &str, value: &str) -> Option<IpNet> {
        let net = match takes {
            Takes::Prefix => self.check_net(prefix(value, self.inet6 == Some(true)), value, "address or network"),
            Takes::Address | Takes::Gateway => self.check_net(address(value).map(IpNet::from), value, "address"),
            _ => None,
        };
        let is_number = match takes {
            Takes::Number => number(value).is_some(),
            Takes::Mark => value.splitn(2, '/').all(|part| number(part).is_some()),
            _ => true,
        };
        if !is_number && !is_unknown(value) {
            self.reject(255, value, format!("'{keyword}' requires a number, not '{value}'"), None);
        }
        let is_link = || !value.is_empty() && value.len() <= 15 && !value.contains('/');
        if takes == Takes::Link && !is_link() && !is_unknown(value) {
            self.reject(255, value, format!("'{value}' is not a valid interface name"), None);
        }
        net
    }

    /// Is it an address or network of the command's family, or may it be one? Returns it, if the text alone decides it:
    /// `default` is of the command's family.
    fn check_net(&mut self, net: Option<IpNet>, value: &str, what: &str) -> Option<IpNet> {
        let of_family =
            |net: IpNet| net.prefix_len() == 0 || self.inet6.is_none_or(|inet6| inet6 == net.addr().is_ipv6());
        if !net.is_some_and(of_family) && !is_unknown(value) {
            let why = format!("'{value}' is not a valid {}{what}", self.family());
            self.reject(1, value, why, None);
        }
        net.filter(|net| net.prefix_len() > 0)
    }

    fn keyword(&mut self, found: Keyword, as_written: &str, keywords: &[Keyword]) {
        let Keyword { name, takes, .. } = found;
        if takes == Takes::Nothing {
            self.given.insert(name, "".into(), None);
            return;
        }
        let Some(mut value) = self.value(as_written) else { return };
        let family = takes == Takes::Gateway && matches!(&**value, "inet" | "inet6");
        if family || takes == Takes::Lockable && value == "lock" || name == "as" && value == "to" {
            match self.value(as_written) {
                Some(after) => value = after,
                None => return,
            }
        }
        if self.reject_keyword_as_value(found, as_written, value, keywords) {
            return;
        }
        let net = self.check(takes, as_written, value);
        self.given.insert(name, value.clone(), net);
    }

    /// `from fwmark 1`, `lookup table isp1`: a keyword instead of the value, which was read already. Is it rejected?
    fn reject_keyword_as_value(&mut self, found: Keyword, as_written: &str, value: &str, keywords: &[Keyword]) -> bool {
        let Keyword { name, takes, .. } = found;
        let start = self.next - 1;
        let Some(other) = keyword(value, keywords).filter(|other| other.word == value && value != "dev") else {
            return false;
        };
        if name == "table" && other.name != name {
            self.reject(255, as_written, format!("'{as_written}' requires a value"), None);
            self.next = start;
            return true;
        }
        if takes != Takes::Prefix && name != "table" {
            return false;
        }
        let (exit, range, why) = match takes {
            Takes::Prefix => (1, start - 1..start, format!("'{as_written}' has no address")),
            _ => (255, start..start + 1, format!("'{as_written}' and '{value}' are the same keyword")),
        };
        let corrected = self.with(range, &[]).into_iter().map(String::from).collect::<Vec<_>>();
        let corrected = corrected.iter().map(String::as_str).collect();
        self.reject(exit, &format!("{as_written} {value}"), why, Some(corrected));
        if name == "table" {
            self.next_is(name);
        } else {
            self.next = start;
        }
        true
    }

    fn rule(&mut self) {
        while let Some(word) = self.next() {
            if let Some(found) = keyword(word, &RULE) {
                self.keyword(*found, word, &RULE);
                continue;
            }
            let word = match &**word {
                "type" => match self.value("type") {
                    Some(word) => word,
                    None => return,
                },
                _ => word,
            };
            if abbreviated(word, &["goto"]).is_some() {
                if let Some(target) = self.value("goto") {
                    self.given.insert("goto", target.clone(), None);
                }
            } else if abbreviated(word, &["nop"]).is_some() || is_type(word) {
                self.given.insert("type", word.clone(), None);
            } else if !is_unknown(word) {
                let start = self.next - 1;
                let without_table = !self.words.iter().any(|word| matches!(&**word, "table" | "lookup"));
                let corrected = without_table.then(|| {
                    let table = self.written[start].clone();
                    [&self.with(start..self.words.len(), &[])[..], &["table", &table]].concat().join(" ")
                });
                let (word, why) = (word.to_string(), format!("unknown 'ip rule' keyword '{word}'"));
                self.rejection.get_or_insert(Rejection { word, why, exit: 255, corrected });
                // The words after it cannot be interpreted.
                return;
            }
        }
        // The option decides the family, not the addresses.
        let ipv6_side =
            ["from", "to"].into_iter().find(|side| self.given.get(side).is_some_and(|net| net.contains(':')));
        if let (None, Some(side)) = (self.inet6, ipv6_side) {
            let word = self.given.get(side).unwrap_or_default().to_string();
            let corrected = self.with(1..1, &["-6"]).join(" ");
            let why = format!("'{word}' is an IPv6 address, but 'ip rule' without '-6' adds IPv4 rules");
            self.rejection.get_or_insert(Rejection { word, why, exit: 2, corrected: Some(corrected) });
        }
    }

    fn route(&mut self) {
        while let Some(word) = self.next() {
            if matches!(&**word, "nexthop" | "encap") {
                return self.nexthops();
            }
            if word == "fastopen_no_cookie" {
                self.next();
                continue;
            }
            if let Some(found) = keyword(word, &ROUTE) {
                self.keyword(*found, word, &ROUTE);
                continue;
            }
            let mut word = match &**word {
                "to" => match self.value("to") {
                    Some(word) => word,
                    None => return,
                },
                _ => word,
            };
            if !word.starts_with(|c: char| c.is_ascii_digit()) && is_type(word) {
                self.given.insert("type", word.clone(), None);
                match self.value(word) {
                    Some(after) => word = after,
                    None => return,
                }
            }
            if word == "lookup" && self.given.has("to") {
                let start = self.next - 1;
                let corrected = self.with(start..start + 1, &["table"]).join(" ");
                let why = "'lookup' is a keyword of 'ip rule'; 'ip route' uses 'table'".to_string();
                let word = word.to_string();
                self.rejection.get_or_insert(Rejection { word, why, exit: 255, corrected: Some(corrected) });
                self.next_is("table");
                continue;
            }
            if self.given.has("to") && !word.contains(['$', '`']) {
                self.reject(255, word, format!("unknown 'ip route' keyword '{word}'"), None);
                return;
            }
            self.destination(word);
        }
    }

    /// Several nexthops, or a tunnel: only the first `via` and `dev` matter here.
    fn nexthops(&mut self) {
        self.given.insert("nexthop", "".into(), None);
        for pair in self.words[self.next.min(self.words.len())..].windows(2) {
            match &*pair[0] {
                "via" => self.given.insert_first("via", pair[1].clone()),
                "dev" => self.given.insert_first("dev", pair[1].clone()),
                _ => {}
            }
        }
    }

    /// The word that was read is the destination of a route.
    fn destination(&mut self, word: &Word<'a>) {
        let net = prefix(word, self.inet6 == Some(true));
        let of_text = self.check_net(net, word, "address or network");
        if let Some(net) = net.filter(|net| net.addr().is_ipv4() && net.addr() != net.network()) {
            let start = self.next - 1;
            let network = net.trunc().to_string();
            let corrected = self.with(start..start + 1, &[&network]).join(" ");
            let why = format!("'{word}' has host bits set; a route needs the network address");
            let word = word.to_string();
            self.rejection.get_or_insert(Rejection { word, why, exit: 2, corrected: Some(corrected) });
        }
        self.given.insert("to", word.clone(), of_text);
    }

    /// Destination, gateway and source are of one family, unless the gateway's is named.
    fn one_family(&mut self) {
        let named = self.words.iter().any(|word| matches!(&**word, "inet" | "inet6"));
        let families = ["to", "via", "src"].into_iter().filter_map(|name| {
            let net = prefix(self.given.get(name)?, false).filter(|net| net.prefix_len() > 0)?;
            Some((name, net.addr().is_ipv6()))
        });
        let families: Vec<_> = families.collect();
        let other = families.iter().find(|(_, inet6)| *inet6 != families[0].1);
        if let (Some((name, _)), false) = (other, named) {
            let [word, first] = [name, families[0].0].map(|name| self.given.get(name).unwrap_or_default().to_string());
            self.reject(1, &word, format!("'{word}' and '{first}' have different address families"), None);
        }
    }

    fn address(&mut self) {
        while let Some(word) = self.next() {
            match keyword(word, &ADDRESS) {
                Some(found) => self.next_is(found.name),
                None if word.contains(['.', ':']) => self.given.insert_first("to", word.clone()),
                None => {}
            }
        }
    }

    /// `flush` has other keywords; only its table is read.
    fn flush(&mut self, object: Object) {
        while let Some(word) = self.next() {
            let table = match object {
                Object::Rule => {
                    word.len() > 1 && "table".starts_with(&**word) || abbreviated(word, &["lookup"]).is_some()
                }
                _ => abbreviated(word, &["table"]).is_some(),
            };
            if table {
                self.next_is("table");
            }
        }
    }
}

impl Reading<'_, '_> {
    /// The words before the object; nothing if the command is not about the rules and routes of this host.
    fn program_and_options(&mut self) -> Option<()> {
        let words = self.words;
        let program = &**words.first()?;
        match program {
            "ip" | "/sbin/ip" | "/bin/ip" | "/usr/sbin/ip" | "/usr/bin/ip" => {}
            "/sbin" | "/bin" | "/usr/sbin" | "/usr/bin" if words.get(1).is_some_and(|word| word == "ip") => {
                self.next = 2;
                let corrected = self.with(0..2, &[&format!("{program}/ip")]).join(" ");
                let why = format!("'{program}' is a directory, not a program");
                let word = format!("{program} ip");
                self.rejection = Some(Rejection { word, why, exit: 126, corrected: Some(corrected) });
            }
            _ => return None,
        }
        while let Some(option) = words.get(self.next).filter(|word| word.starts_with('-')) {
            self.next += 1;
            match option.trim_start_matches('-') {
                "4" => self.inet6 = Some(false),
                "6" => self.inet6 = Some(true),
                // The rules of another namespace, or the commands of a file.
                option if abbreviated(option, &["netns", "batch"]).is_some() => return None,
                option if abbreviated(option, &["family"]).is_some() => self.inet6 = Some(self.next()? == "inet6"),
                option if abbreviated(option, &["loops", "rcvbuf"]).is_some() => self.next += 1,
                _ => {}
            }
        }
        Some(())
    }

    /// In the order of ip.c, which uses the first match.
    fn object(&mut self) -> Option<Object> {
        const OBJECTS: [&str; 6] = ["address", "addrlabel", "maddress", "route", "rule", "neighbor"];
        match abbreviated(self.next()?, &OBJECTS)? {
            "rule" => Some(Object::Rule),
            "route" => Some(Object::Route),
            "address" => Some(Object::Address),
            _ => None,
        }
    }

    /// In the order of iprule.c, iproute.c and ipaddress.c.
    fn verb(&mut self, object: Object) -> Option<Verb> {
        let verbs: &[&str] = match object {
            Object::Rule => &["list", "lst", "show", "save", "restore", "add", "delete", "flush"],
            Object::Route => &[
                "list", "show", "lst", "add", "change", "chg", "replace", "prepend", "append", "test", "delete", "get",
                "flush",
            ],
            Object::Address => &["add", "change", "chg", "replace", "delete", "show", "lst", "list", "flush"],
        };
        match abbreviated(self.next()?, verbs)? {
            "add" | "change" | "chg" | "replace" | "prepend" | "append" => Some(Verb::Add),
            "delete" => Some(Verb::Delete),
            "flush" => Some(Verb::Flush),
            _ => None,
        }
    }
}

/// The command without its words.
pub(crate) fn ip<'a>(written: &[Word<'a>], words: &[Word<'a>]) -> Option<Command<'a>> {
    let mut reading = Reading { written, words, next: 1, inet6: None, given: Given::default(), rejection: None };
    reading.program_and_options()?;
    let object = reading.object()?;
    let verb_at = reading.next;
    let verb = reading.verb(object)?;
    match (object, verb) {
        (Object::Rule, Verb::Add | Verb::Delete) if reading.next == words.len() => {
            reading.reject(1, "rule", "'ip rule' needs a selector".into(), None);
        }
        (_, Verb::Flush) => reading.flush(object),
        (Object::Rule, _) => reading.rule(),
        (Object::Route, _) => reading.route(),
        (Object::Address, _) => reading.address(),
    }
    let is_address = |name: &str| matches!(name, "from" | "to" | "via" | "src");
    let is_inet6 = reading.given.iter().any(|(name, value)| is_address(name) && has_colon(value));
    if is_inet6 && object == Object::Route {
        reading.one_family();
    }
    let Reading { inet6, given, rejection, .. } = reading;
    Some(Command {
        object,
        verb,
        inet6: inet6.unwrap_or(is_inet6),
        given,
        rejection: rejection.map(Box::new),
        words: Vec::new(),
        is_route8: false,
        verb_at,
        failure_propagates: true,
        conditional: false,
    })
}

//! An `ip` command that changes rules, routes or addresses, as a value.

use std::net::IpAddr;

use ipnet::IpNet;

use super::keywords::{Keyword, ROUTE, RULE, abbreviated, keyword, number, prefix};
use super::words::{Given, Word, owned};

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

/// What the kernel does with two routes to one destination with one metric (measured: docs/interfaces.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameMetric {
    /// The second command fails: "File exists".
    Fails,
    /// The second route replaces the first one.
    Replaces,
    /// The table has both.
    Joins,
}

/// A command that changes rules, routes or addresses. Its words are parts of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    pub object: Object,
    pub verb: Verb,
    /// `-6`, or an address with a colon in it.
    pub inet6: bool,
    /// iproute2's keywords in full with their values: for rules `from`, `to`, `priority`, `table`, `iif` and so
    /// on; for routes `to` (the destination), `via`, `dev`, `src`, `table`, …; for addresses `to` and `dev`.
    pub(super) given: Given<'a>,
    /// Why `ip` or the shell rejects it; nothing if variables decide.
    pub rejection: Option<Box<Rejection>>,
    /// Its words, with variables as they were written.
    pub(super) words: Vec<Word<'a>>,
    /// It is one of route(8), not of `ip`.
    pub(super) is_route8: bool,
    /// The position of the verb among the words.
    pub(super) verb_at: usize,
    /// Its failure is the failure of the line: nothing like `|| true` comes after it.
    pub failure_propagates: bool,
    /// Another command decides whether, or how often, it runs.
    pub conditional: bool,
}

/// Why a command is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The words that the caret marks.
    pub word: String,
    /// The reason, as a clause.
    pub why: String,
    /// The exit code of `ip`, or the shell's.
    pub exit: u8,
    /// The probable intention.
    pub corrected: Option<String>,
}

impl<'a> Command<'a> {
    /// A copy, which outlives the line.
    pub(super) fn into_owned(self) -> Command<'static> {
        Command {
            object: self.object,
            verb: self.verb,
            inet6: self.inet6,
            given: self.given.into_owned(),
            rejection: self.rejection,
            words: self.words.into_iter().map(owned).collect(),
            is_route8: self.is_route8,
            verb_at: self.verb_at,
            failure_propagates: self.failure_propagates,
            conditional: self.conditional,
        }
    }

    pub(super) fn shrink(&mut self) {
        self.words.shrink_to_fit();
        self.given.shrink();
    }

    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.given.get(keyword)
    }

    /// Everything that is given, by keyword.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter()
    }

    pub fn adds(&self) -> bool {
        self.verb == Verb::Add
    }

    /// What the command does with a route of the table that has this destination and metric.
    pub fn same_metric(&self) -> SameMetric {
        match self.adding_verb() {
            Some("add") if !self.is_route8 => SameMetric::Fails,
            Some("change" | "chg" | "replace") => SameMetric::Replaces,
            _ => SameMetric::Joins,
        }
    }

    /// Does the kernel use the IPv4 route instead of an earlier one with this destination and metric?
    pub fn is_used_first(&self) -> bool {
        self.same_metric() != SameMetric::Fails && self.adding_verb() != Some("append")
    }

    fn adding_verb(&self) -> Option<&'static str> {
        abbreviated(&self.words[self.verb_at], &["add", "change", "chg", "replace", "prepend", "append"])
    }

    /// A value that is a prefix; nothing if it is missing or invalid.
    pub fn prefix(&self, keyword: &str) -> Option<IpNet> {
        let value = self.given.value(keyword)?;
        value.net.or_else(|| prefix(&value.text, self.inet6))
    }

    /// A value that is a single address.
    pub fn address(&self, keyword: &str) -> Option<IpAddr> {
        self.prefix(keyword).filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr())
    }

    /// Is it a default route (`default`, `0.0.0.0/0`)?
    pub fn is_default(&self) -> bool {
        // Most destinations have another length: their address need not be read.
        let length = self.get("to").and_then(|to| to.split_once('/')).and_then(|(_, length)| number(length));
        length.is_none_or(|length| length == 0) && self.prefix("to").is_some_and(|net| net.prefix_len() == 0)
    }

    pub fn priority(&self) -> Option<u32> {
        number(self.get("priority")?)
    }

    /// As it was written, or as it was probably intended, on one line.
    pub fn text(&self) -> String {
        match self.rejection.as_ref().and_then(|rejection| rejection.corrected.as_ref()) {
            Some(corrected) => corrected.clone(),
            None => self.words.join(" "),
        }
    }

    /// The same with another verb, for the opposite of a command.
    pub fn with_verb(&self, verb: &str) -> String {
        let own = format!(" {} ", self.words[self.verb_at]);
        self.text().replacen(&own, &format!(" {verb} "), 1)
    }

    /// A keyword and its value as they were written, for the caret; empty if it is missing.
    pub fn written(&self, name: &str) -> String {
        let keywords: &[Keyword] = if self.object == Object::Rule { &RULE } else { &ROUTE };
        let is_keyword = |(word, _): &(&str, &str)| keyword(word, keywords).is_some_and(|known| known.name == name);
        let mut pairs = self.words.windows(2).rev().map(|pair| (&*pair[0], &*pair[1]));
        pairs.find(is_keyword).map_or(String::new(), |(word, value)| format!("{word} {value}"))
    }

    /// Replaces the value of a keyword, if the command has it.
    pub fn set(&mut self, name: &'static str, value: &str) {
        let keywords: &[Keyword] = if self.object == Object::Rule { &RULE } else { &ROUTE };
        let text = self.text();
        let mut words: Vec<&str> = text.split(' ').collect();
        let is_keyword = |word: &&str| keyword(word, keywords).is_some_and(|known| known.name == name);
        let Some(position) = words.iter().rposition(is_keyword).filter(|position| position + 1 < words.len()) else {
            return;
        };
        words[position + 1] = value;
        match self.rejection.as_mut().and_then(|rejection| rejection.corrected.as_mut()) {
            Some(corrected) => *corrected = words.join(" "),
            None => self.words = words.into_iter().map(|word| owned(word.into())).collect(),
        }
        self.given.insert(name, owned(value.into()), None);
    }

    /// Its text with another value of a keyword.
    pub fn with_value(&self, keyword: &'static str, value: &str) -> String {
        let mut other = self.clone();
        other.set(keyword, value);
        other.text()
    }
}

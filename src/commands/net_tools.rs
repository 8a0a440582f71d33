//! `route add default gw …` of net-tools (route(8)): only default routes.

use std::collections::BTreeMap;

use super::command::{Command, Object, Verb};
use super::keywords::prefix;

/// The metric of an IPv6 route that route(8) adds without one (net-tools, `INET6_setroute`).
const INET6_METRIC: &str = "1";

/// One `route add` or `route del` of a default route; nothing for any other.
pub(crate) fn route(written: &[String], words: &[String]) -> Option<Command> {
    if !matches!(words.first()?.as_str(), "route" | "/sbin/route" | "/usr/sbin/route" | "/bin/route") {
        return None;
    }
    let verb_at = words.iter().position(|word| matches!(word.as_str(), "add" | "del" | "delete"))?;
    let verb = if words[verb_at] == "add" { Verb::Add } else { Verb::Delete };
    let mut inet6 = false;
    let mut given: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut rest =
        words.iter().enumerate().skip(1).filter(|(position, _)| *position != verb_at).map(|(_, word)| word.as_str());
    while let Some(word) = rest.next() {
        let mut value = |name| rest.next().map(|value| given.insert(name, value.to_string()));
        match word {
            "-6" | "--inet6" => inet6 = true,
            "-A" => inet6 = rest.next()? == "inet6",
            "gw" | "gateway" => _ = value("via"),
            "metric" => _ = value("metric"),
            "dev" | "device" => _ = value("dev"),
            "netmask" | "mss" | "window" | "irtt" => _ = value("ignored"),
            _ if word.starts_with('-') => {}
            _ if !given.contains_key("to") => _ = given.insert("to", word.to_string()),
            _ => _ = given.entry("dev").or_insert(word.to_string()),
        }
    }
    given.remove("ignored");
    // `-net 0.0.0.0` is the default route as well, with or without its netmask.
    let any = written.iter().any(|word| word == "-net") && given.get("to").is_some_and(|to| to == "0.0.0.0");
    if any {
        given.insert("to", "default".into());
    }
    prefix(given.get("to")?, inet6).filter(|to| to.prefix_len() == 0)?;
    if inet6 {
        given.entry("metric").or_insert(INET6_METRIC.into());
    }
    let words = written.to_vec();
    let (failure_propagates, conditional, object) = (true, false, Object::Route);
    Some(Command { object, verb, inet6, given, rejection: None, words, verb_at, failure_propagates, conditional })
}

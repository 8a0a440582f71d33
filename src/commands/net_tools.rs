//! `route add default gw …` and `route add -net … gw …` of net-tools (route(8)).

use super::command::{Command, Object, Verb};
use super::keywords::prefix;
use super::words::{Given, Word};

/// The metric of an IPv6 route that route(8) adds without one (net-tools, `INET6_setroute`).
const INET6_METRIC: &str = "1";

/// The command without its words: one `route add` or `route del` of a default route, or of a network with its mask;
/// nothing for any other.
pub(crate) fn route<'a>(written: &[Word<'a>], words: &[Word<'a>]) -> Option<Command<'a>> {
    if !matches!(words.first()?.as_ref(), "route" | "/sbin/route" | "/usr/sbin/route" | "/bin/route") {
        return None;
    }
    let verb_at = words.iter().position(|word| matches!(word.as_ref(), "add" | "del" | "delete"))?;
    let verb = if words[verb_at] == "add" { Verb::Add } else { Verb::Delete };
    let mut inet6 = false;
    let mut given = Given::default();
    let mut rest = words.iter().enumerate().skip(1).filter(|(position, _)| *position != verb_at).map(|(_, word)| word);
    while let Some(word) = rest.next() {
        let mut value = |name| rest.next().map(|value| given.insert(name, value.clone(), None));
        match &**word {
            "-6" | "--inet6" => inet6 = true,
            "-A" => inet6 = rest.next()? == "inet6",
            "gw" | "gateway" => _ = value("via"),
            "metric" => _ = value("metric"),
            "dev" | "device" => _ = value("dev"),
            "netmask" => _ = value("netmask"),
            "mss" | "window" | "irtt" => _ = value("ignored"),
            _ if word.starts_with('-') => {}
            _ if !given.has("to") => given.insert("to", word.clone(), None),
            _ => given.insert_first("dev", word.clone()),
        }
    }
    given.remove("ignored");
    let netmask = given.remove("netmask");
    let is_network = written.iter().any(|word| word == "-net");
    if is_network && given.get("to").is_some_and(|to| to == "0.0.0.0") {
        // With or without its netmask.
        given.insert("to", "default".into(), None);
    } else if let Some(length) = netmask.and_then(|mask| ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()) {
        let to = format!("{}/{length}", given.get("to")?);
        given.insert("to", to.into(), None);
    }
    let to = prefix(given.get("to")?, inet6)?;
    let is_whole = is_network && to.prefix_len() < to.max_prefix_len() && given.has("via");
    if to.prefix_len() > 0 && !is_whole {
        return None;
    }
    if inet6 {
        given.insert_first("metric", INET6_METRIC.into());
    }
    Some(Command {
        object: Object::Route,
        verb,
        inet6,
        given,
        rejection: None,
        words: Vec::new(),
        is_route8: true,
        verb_at,
        failure_propagates: true,
        conditional: false,
    })
}

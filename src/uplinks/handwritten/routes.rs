//! Routes: by a link, through a gateway, with a source that they can have, and in the right stanza.

use std::collections::HashSet;
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use super::Judge;
use super::host::{Road, Table, single};
use crate::interfaces::command::Object;
use crate::interfaces::{At, Family, Severity};
use crate::tables::RESERVED;
use crate::uplinks::Source;
use crate::uplinks::finder::link_of;

impl Judge<'_> {
    pub(super) fn routes(&mut self) {
        let others = |road: &&Road| !matches!(road.table, Table::Number(number) if RESERVED.contains(&number));
        let routes: Vec<(usize, Table)> =
            self.host.roads.iter().filter(others).map(|road| (road.at, road.table.clone())).collect();
        let (mut devices, mut leased, mut subnets) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (at, table) in routes {
            self.device(at, &mut devices);
            self.gateway(at);
            self.source(at, &table, &mut leased);
            self.subnet(at, &table, &mut subnets);
        }
        let rules: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        for at in rules {
            let from = self.line(at).command.get("from").unwrap_or_default().to_string();
            self.leased(at, &from, &mut leased);
        }
    }

    /// A route by a link that nothing in these files knows.
    fn device(&mut self, at: usize, seen: &mut HashSet<(usize, String)>) {
        let line = self.line(at);
        let Some(dev) = line.command.get("dev").filter(|dev| !dev.contains(['$', '`', '<'])) else { return };
        let dev = link_of(BStr::new(dev)).to_str_lossy().into_owned();
        let (link, stanza) = (self.link(line).to_string(), line.stanza);
        if dev == link || dev == "lo" || !self.is_link(line) || self.is_stanza_link(&dev) {
            return;
        }
        // Another command may make it: a tunnel, a bridge, `wg-quick up wg0`.
        let entries = self.finder.config.stanzas.iter().flat_map(|stanza| &stanza.entries);
        let policy: HashSet<At> =
            self.lines().filter(|(_, it)| it.command.object != Object::Address).map(|(_, it)| it.at).collect();
        let mut others = entries.filter(|entry| !policy.contains(&entry.at));
        let made = others
            .any(|entry| entry.value.fields_with(|c| c.is_whitespace() || c == '=').any(|word| word == dev.as_bytes()));
        if made || !seen.insert((stanza, dev.clone())) {
            return;
        }
        let message = format!(
            "{dev} is no interface of these files: if nothing else has made it by then, {}",
            Self::failing(line, 1)
        );
        let help = format!("If {link} is meant, write '{}'.", line.command.with_value("dev", &link));
        let word = self.line(at).command.said("dev");
        self.warn("hand-written-wrong-device", at, &word, message, help);
    }

    /// A gateway that is on none of the link's networks, or on those of two links.
    fn gateway(&mut self, at: usize) {
        let line = self.line(at);
        let command = &line.command;
        let (Some(text), Some(via)) = (command.get("via"), command.address("via")) else { return };
        let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
        if command.get("onlink").is_some() || command.get("nexthop").is_some() {
            return;
        }
        let (text, link) = (text.to_string(), self.link(line).to_string());
        let dev = command.get("dev").map(|dev| link_of(BStr::new(dev)).to_str_lossy().into_owned());
        let fails = Self::failing(line, 2);
        if link_local {
            if dev.is_none() {
                let message = format!("a link-local gateway wants its 'dev': {fails}");
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(at).command.said("via");
                self.warn("hand-written-wrong-gateway", at, &word, message, help);
            }
            return;
        }
        let leads_there = |road: &Road| road.on_link && road.net.is_some_and(|net| net.contains(&via));
        let routed = self.host.roads.iter().any(leads_there);
        let towards = self.links_towards(via);
        // The kernel looks for the gateway in the route's own table first (net/ipv4/fib_semantics.c `fib_check_nh`).
        let in_table = self.table(command).is_some_and(|table| {
            let mut before = self.routes_in(&table).filter(|road| road.at < at);
            before.any(|road| leads_there(road) && self.link(self.line(road.at)) == link)
        });
        match &dev {
            None if towards.len() > 1 && towards.contains(&link) && !in_table => {
                let others: Vec<&str> = towards.iter().filter(|other| **other != link).map(String::as_str).collect();
                let message = format!(
                    "{text} is in a network of {link} and of {}: without 'dev' the kernel takes the one that it finds first",
                    others.join(", ")
                );
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(at).command.said("via");
                self.warn("hand-written-wrong-device", at, &word, message, help);
            }
            None if towards.is_empty() && !routed && !self.host.any_open(command.inet6) => {
                self.off_link(at, via, "the host", &format!(" dev {link} onlink"));
            }
            Some(dev) if !towards.contains(dev) && !routed => {
                let known = self.is_stanza_link(dev) && !self.is_open(dev, command.inet6);
                known.then(|| self.off_link(at, via, dev, " onlink"));
            }
            _ => {}
        }
    }

    fn off_link(&mut self, at: usize, via: IpAddr, whose: &str, more: &str) {
        let line = self.line(at);
        let text = line.command.get("via").unwrap_or_default().to_string();
        let fails = Self::failing(line, 2);
        let (what, help) = if text == via.to_string() || via.is_ipv6() {
            let with = line.command.text() + more;
            (format!("{text} is"), format!("Give the router's address; if that is outside on purpose, write '{with}'."))
        } else {
            (format!("'ip' reads '{text}' as {via}, which is"), "Write the router's whole address.".to_string())
        };
        let message = format!("{what} on none of {whose}'s networks: {fails}");
        let word = self.line(at).command.said("via");
        self.warn("hand-written-wrong-gateway", at, &word, message, help);
    }

    /// `src` has to be an address of the server, and the one that the rules send here.
    fn source(&mut self, at: usize, table: &Table, leased: &mut HashSet<usize>) {
        let line = self.line(at);
        let command = &line.command;
        let (Some(src), Some(address)) = (command.get("src"), command.address("src")) else { return };
        let (src, link) = (src.to_string(), self.link(line).to_string());
        let of_link =
            |(of, family, _): &&(String, Family, Source)| *of == link && (*family == Family::Inet6) == command.inet6;
        let own = self.finder.sources.iter().filter(of_link);
        let own: Vec<IpAddr> = own.map(|(_, _, source)| source.net.addr()).collect();
        let corrected = |own: Option<&IpAddr>| {
            let corrected = own.map(|own| command.with_value("src", &own.to_string()));
            corrected.map_or("Give the link's own address.".to_string(), |corrected| format!("Write '{corrected}'."))
        };
        match self.owner(&src, command.inet6).map(str::to_string) {
            Some(owner) if owner == link => {}
            Some(owner) => {
                // A LAN's address may well be the source behind a tunnel.
                let for_own = self.added_rules().find_map(|(_, rule)| {
                    let from = rule.command.address("from").filter(|from| own.contains(from))?;
                    (self.table(&rule.command).as_ref() == Some(table)).then_some(from)
                });
                if let Some(from) = for_own {
                    let message = format!(
                        "{src} is {owner}'s address, and table {} serves {from}",
                        command.get("table").unwrap_or_default()
                    );
                    let help = corrected(Some(&from));
                    let word = self.line(at).command.said("src");
                    self.warn("hand-written-wrong-source", at, &word, message, help);
                }
            }
            None => {
                let within = self.networks(&link, command.inet6).iter().any(|net| net.contains(&address));
                let known = within && !self.is_open(&link, command.inet6) || !self.host.any_open(command.inet6);
                if !known {
                    self.leased(at, &src, leased);
                    return;
                }
                let gateways = self.stanza(line).entries.iter().filter(|entry| entry.name.ends_with(b"gateway"));
                let is_gateway = gateways.into_iter().any(|entry| entry.value == src.as_bytes());
                let what = if is_gateway { "is the gateway's address" } else { "is the address of no stanza" };
                let message = format!("{src} {what}, and 'src' wants one of the server's: {}", Self::failing(line, 2));
                let help = corrected(own.first());
                let word = self.line(at).command.said("src");
                self.warn("hand-written-wrong-source", at, &word, message, help);
            }
        }
    }

    /// An address in the lines of a stanza that gets its address from elsewhere.
    fn leased(&mut self, at: usize, text: &str, seen: &mut HashSet<usize>) {
        let line = self.line(at);
        let stanza = self.stanza(line);
        let command = &line.command;
        let single = single(text, command.inet6).is_some();
        if !single || stanza.method != "dhcp" || self.owner(text, command.inet6).is_some() || !seen.insert(line.stanza)
        {
            return;
        }
        let message = format!(
            "{} gets its address by DHCP, and these lines know {text} alone: with another lease they fail or match nothing",
            stanza.interface
        );
        let help = "Give the stanza the method 'static' if the address is fixed, or take the lines out and let symroute follow the lease.";
        self.say(Severity::Hint, "hand-written-fixed-address", at, text, message, help.into());
    }

    /// A table with a default route and without the link's own network.
    fn subnet(&mut self, at: usize, table: &Table, seen: &mut HashSet<(Table, IpNet)>) {
        let line = self.line(at);
        let command = &line.command;
        let (true, Some(via), Some(link)) = (command.is_default(), command.address("via"), self.leaves_by(line)) else {
            return;
        };
        // In the smallest networks there is nobody but the router.
        let others = |net: &IpNet| net.max_prefix_len() - net.prefix_len() > 2;
        let Some(net) =
            self.networks(&link, command.inet6).iter().copied().find(|net| net.contains(&via) && others(net))
        else {
            return;
        };
        let holds = |to: IpNet| to.contains(&net);
        let has_it = self.routes_in(table).any(|road| road.net.is_some_and(holds));
        let main_first = self.host.main_first.iter().any(|to| to.is_none_or(holds));
        let by_source = self.host.by_source.contains(table);
        if has_it || main_first || !by_source || !seen.insert((table.clone(), net)) {
            return;
        }
        let name = command.get("table").unwrap_or_default();
        let ip = if command.inet6 { "ip -6" } else { "ip" };
        let message = format!(
            "table {name} has no route to {net}: hosts on {link}'s own network are answered through the gateway"
        );
        let help =
            format!("Add '{} {ip} route add {net} dev {link} table {name}' before this line.", line.phase.option());
        self.say(Severity::Hint, "hand-written-no-subnet", at, "", message, help);
    }

    /// Lines about another stanza's link: they come and go with the wrong one.
    pub(super) fn other_stanzas(&mut self) {
        let mut seen = HashSet::new();
        for at in 0..self.finder.lines.len() {
            let line = self.line(at);
            if !line.phase.is_up() || !line.is_policy(self.finder.names) || !line.command.adds() || !self.is_link(line)
            {
                continue;
            }
            let other = match line.command.object {
                Object::Rule => {
                    let from = line.command.get("from").filter(|from| !from.contains('$'));
                    from.and_then(|from| self.owner(from, line.command.inet6)).map(str::to_string)
                }
                _ if line.command.is_default() && line.command.get("dev").is_some() => self.leaves_by(line),
                _ => None,
            };
            let link = self.link(line).to_string();
            let Some(other) = other.filter(|other| *other != link && other != "lo" && self.is_stanza_link(other))
            else {
                continue;
            };
            let stanza = line.stanza;
            // A rule that leads to the wrong table was complained of as that.
            let known = self.found.iter().any(|it| it.at == Some(line.at) && it.id == Some("hand-written-wrong-table"));
            if known || !seen.insert((stanza, other.clone())) {
                continue;
            }
            let message =
                format!("this is about {other} and stands in the stanza of {link}: it comes and goes with {link}");
            let help = format!("Move the lines about {other} to its own stanza.");
            let keyword = if self.line(at).command.object == Object::Rule { "from" } else { "dev" };
            let word = self.line(at).command.said(keyword);
            self.warn("hand-written-wrong-stanza", at, &word, message, help);
        }
    }
}

//! Routes: is their interface, gateway and source address valid, and are they in the right stanza?

use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::host::{ManualRoute, single};
use super::lint::ManualPolicyLint;
use super::removal::{Removal, added_route, of_route};
use crate::commands::lines::Phase;
use crate::commands::tables::Table;
use crate::commands::{Command, Object};
use crate::interfaces::{Location, without_alias};
use crate::network::Route;
use crate::sort::sort_by_key;

impl ManualPolicyLint<'_> {
    pub(crate) fn routes(&mut self) {
        let is_policy = |manual_route: &&ManualRoute| !manual_route.table.is_reserved();
        let routes: Vec<(usize, Table)> = self
            .host
            .manual_routes
            .iter()
            .filter(is_policy)
            .map(|manual_route| (manual_route.line, manual_route.table.clone()))
            .collect();
        let (mut devices, mut leased, mut subnets) = (FxHashSet::default(), FxHashSet::default(), FxHashSet::default());
        for (index, table) in routes {
            self.device(index, &mut devices);
            self.gateway(index);
            self.source(index, &table, &mut leased);
            self.subnet(index, &table, &mut subnets);
        }
        for index in self.added.lines.clone() {
            let from = self.line(index).command.get("from").unwrap_or_default().to_string();
            self.leased(index, &from, &mut leased);
        }
    }

    /// A route through an interface that is missing in these files.
    fn device(&mut self, index: usize, seen: &mut FxHashSet<(usize, String)>) {
        let line = self.line(index);
        let Some(dev) = line.command.get("dev").filter(|dev| !dev.contains(['$', '`', '<'])) else { return };
        let dev = without_alias(dev).to_str_lossy().into_owned();
        let (link, stanza) = (self.link(line).to_string(), line.stanza);
        if dev == link || dev == "lo" || !self.is_link(line) || self.is_stanza_link(&dev) {
            return;
        }
        let made = self.words_of_others.get_or_init(|| self.words_of_others()).contains(dev.as_bytes());
        if made || !seen.insert((stanza, dev.clone())) {
            return;
        }
        let message = format!(
            "{dev} is not an interface in these files: if nothing else adds it before, {}",
            Self::failing(line, 1)
        );
        let help = format!("If {link} is meant, write '{}'.", line.command.with_value("dev", &link));
        let word = self.line(index).command.written("dev");
        self.warn("manual-wrong-device", index, &word, message, help);
    }

    /// The words of all lines that are not policy: another command may add an interface (a tunnel, a bridge,
    /// `wg-quick up wg0`).
    fn words_of_others(&self) -> FxHashSet<Vec<u8>> {
        let policy: FxHashSet<Location> = self
            .lines()
            .filter(|(_, line)| line.command.object != Object::Address)
            .map(|(_, line)| line.location)
            .collect();
        let config = self.collector.config;
        let entries = config.stanzas.iter().flat_map(|stanza| config.entries(stanza));
        let others = entries.filter(|entry| !policy.contains(&entry.location));
        let words = others.flat_map(|entry| entry.value.fields_with(|c| c.is_whitespace() || c == '='));
        words.map(<[u8]>::to_vec).collect()
    }

    /// A gateway that is in no network of the link, or in networks of two links.
    fn gateway(&mut self, index: usize) {
        let line = self.line(index);
        let command = &line.command;
        let (Some(text), Some(via)) = (command.get("via"), command.address("via")) else { return };
        let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
        if command.get("onlink").is_some() || command.get("nexthop").is_some() {
            return;
        }
        let (text, link) = (text.to_string(), self.link(line).to_string());
        let dev = command.get("dev").map(|dev| without_alias(dev).to_str_lossy().into_owned());
        let fails = Self::failing(line, 2);
        if link_local {
            if dev.is_none() {
                let message = format!("a link-local gateway requires 'dev': {fails}");
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(index).command.written("via");
                self.warn("manual-wrong-gateway", index, &word, message, help);
            }
            return;
        }
        let leads_there =
            |manual_route: &ManualRoute| manual_route.on_link && manual_route.net.is_some_and(|net| net.contains(&via));
        let routed = self.host.on_link.containing(via.into()).next().is_some();
        let towards = self.links_towards(via);
        // The kernel looks for the gateway in the route's own table first (net/ipv4/fib_semantics.c `fib_check_nh`).
        let in_table = self.table(command).is_some_and(|table| {
            let mut before = self.routes_in(&table).filter(|manual_route| manual_route.line < index);
            before.any(|manual_route| leads_there(manual_route) && self.link(self.line(manual_route.line)) == link)
        });
        match &dev {
            None if towards.len() > 1 && towards.contains(&link[..]) && !in_table => {
                let others: Vec<&str> = towards.iter().copied().filter(|other| *other != link).collect();
                let message = format!(
                    "{text} is in networks of {link} and {}: without 'dev' the kernel uses the first one that it finds",
                    others.join(", ")
                );
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(index).command.written("via");
                self.warn("manual-wrong-device", index, &word, message, help);
            }
            None if towards.is_empty() && !routed && !self.host.any_open(command.inet6) => {
                self.off_link(index, via, "the host", &format!(" dev {link} onlink"));
            }
            Some(dev) if !towards.contains(&dev[..]) && !routed => {
                let known = self.is_stanza_link(dev) && !self.is_open(dev, command.inet6);
                known.then(|| self.off_link(index, via, dev, " onlink"));
            }
            _ => {}
        }
    }

    fn off_link(&mut self, index: usize, via: IpAddr, whose: &str, more: &str) {
        let line = self.line(index);
        let text = line.command.get("via").unwrap_or_default().to_string();
        let fails = Self::failing(line, 2);
        let (what, help) = if text == via.to_string() || via.is_ipv6() {
            let with = line.command.text() + more;
            (
                format!("{text} is"),
                format!("Write the router's address. If the router is outside the network on purpose, write '{with}'."),
            )
        } else {
            (format!("'ip' reads '{text}' as {via}, which is"), "Write the full address of the router.".to_string())
        };
        let message = format!("{what} not in a network of {whose}: {fails}");
        let word = self.line(index).command.written("via");
        self.warn("manual-wrong-gateway", index, &word, message, help);
    }

    /// `src` has to be an address of the host, and the one whose rules look up this table.
    fn source(&mut self, index: usize, table: &Table, leased: &mut FxHashSet<usize>) {
        let line = self.line(index);
        let command = &line.command;
        let (Some(src), Some(address)) = (command.get("src"), command.address("src")) else { return };
        let (src, link) = (src.to_string(), self.link(line).to_string());
        let own = self.host.addresses.get(&(link.clone(), command.inet6)).map_or(&[][..], Vec::as_slice);
        let corrected = |own: Option<&IpAddr>| {
            let corrected = own.map(|own| command.with_value("src", &own.to_string()));
            corrected
                .map_or("Use an address of this interface.".to_string(), |corrected| format!("Write '{corrected}'."))
        };
        match self.owner(&src, command.inet6).map(str::to_string) {
            Some(owner) if owner == link => {}
            Some(owner) => {
                // A LAN's address may be the right source for a route through a tunnel.
                let for_own = self.added.from(own, command.inet6).into_iter().find_map(|rule| {
                    let rule = &self.line(rule).command;
                    let from = rule.address("from")?;
                    (self.table(rule).as_ref() == Some(table)).then_some(from)
                });
                if let Some(from) = for_own {
                    let message = format!(
                        "{src} is the address of {owner}, but table {} is used for {from}",
                        command.get("table").unwrap_or_default()
                    );
                    let help = corrected(Some(&from));
                    let word = self.line(index).command.written("src");
                    self.warn("manual-wrong-source", index, &word, message, help);
                }
            }
            None => {
                let within = self.networks(&link, command.inet6).iter().any(|net| net.contains(&address));
                let known = within && !self.is_open(&link, command.inet6) || !self.host.any_open(command.inet6);
                if !known {
                    self.leased(index, &src, leased);
                    return;
                }
                let gateways =
                    self.collector.config.entries(self.stanza(line)).filter(|entry| entry.name.ends_with(b"gateway"));
                let is_gateway = gateways.into_iter().any(|entry| *entry.value == src[..]);
                let what =
                    if is_gateway { "is the address of the gateway" } else { "is not the address of any stanza" };
                let message =
                    format!("{src} {what}, but 'src' must be an address of this host: {}", Self::failing(line, 2));
                let help = corrected(own.first());
                let word = self.line(index).command.written("src");
                self.warn("manual-wrong-source", index, &word, message, help);
            }
        }
    }

    /// An address in the lines of a stanza that uses DHCP.
    fn leased(&mut self, index: usize, text: &str, seen: &mut FxHashSet<usize>) {
        let line = self.line(index);
        let stanza = self.stanza(line);
        let command = &line.command;
        let single = single(text, command.inet6).is_some();
        if !single || stanza.method != "dhcp" || self.owner(text, command.inet6).is_some() || !seen.insert(line.stanza)
        {
            return;
        }
        let message = format!(
            "{} gets its address by DHCP, but these lines contain {text}: with another lease they fail or never match",
            stanza.interface
        );
        let help =
            "Use the method 'static' if the address is fixed. Or remove these lines: symroute follows the lease.";
        self.hint("manual-fixed-address", index, text, message, help.into());
    }

    /// A table with a default route and without the link's own network.
    fn subnet(&mut self, index: usize, table: &Table, seen: &mut FxHashSet<(Table, IpNet)>) {
        let line = self.line(index);
        let command = &line.command;
        let (true, Some(via), Some(link)) = (command.is_default(), command.address("via"), self.leaves_by(line)) else {
            return;
        };
        // The smallest networks contain only the router.
        let others = |net: &IpNet| net.max_prefix_len() - net.prefix_len() > 2;
        let Some(net) =
            self.networks(&link, command.inet6).iter().copied().find(|net| net.contains(&via) && others(net))
        else {
            return;
        };
        let holds = |to: IpNet| to.contains(&net);
        let has_it = self.routes_in(table).any(|manual_route| manual_route.net.is_some_and(holds));
        let main_first = self.host.main_first.iter().any(|to| to.is_none_or(holds));
        let by_source = self.host.by_source.contains(table);
        if has_it || main_first || !by_source || !seen.insert((table.clone(), net)) {
            return;
        }
        let name = command.get("table").unwrap_or_default();
        let ip = if command.inet6 { "ip -6" } else { "ip" };
        let message = format!(
            "table {name} has no route to {net}: replies to hosts in the network of {link} are sent via the gateway"
        );
        let help =
            format!("Add '{} {ip} route add {net} dev {link} table {name}' before this line.", line.phase.option());
        self.hint("manual-no-subnet", index, "", message, help);
    }

    /// Deletions with so few values that the kernel finds another interface's route first.
    pub(crate) fn deleted_routes(&mut self) {
        let names = self.collector.names;
        let mut routes: Vec<(Option<usize>, Route)> =
            self.host.defaults.iter().map(|route| (None, route.clone())).collect();
        routes.extend(self.host.manual_routes.iter().filter_map(|manual_route| {
            let line = self.line(manual_route.line);
            let is_plain = line.command.rejection.is_none() && line.command.get("nexthop").is_none();
            let dev = self.leaves_by(line).filter(|_| is_plain)?;
            Some((Some(manual_route.line), added_route(&line.command, Some(dev), names)?))
        }));
        // In the kernel's order.
        sort_by_key(&mut routes, |(_, route)| route.metric);
        let key = |route: &Route| (route.family, route.table, route.dst);
        let mut by_destination: FxHashMap<_, Vec<&(Option<usize>, Route)>> = FxHashMap::default();
        for known in &routes {
            by_destination.entry(key(&known.1)).or_default().push(known);
        }
        let deletions: Vec<usize> =
            self.lines().filter(|(_, line)| line.deletes_route()).map(|(index, _)| index).collect();
        for index in deletions {
            let line = self.line(index);
            let Some(target) = added_route(&line.command, None, names) else { continue };
            let removes = |known: &&&(Option<usize>, Route)| {
                let addition = known.0.map(|index| &self.line(index).command);
                of_route(&line.command, addition, &known.1, names) == Removal::Yes
            };
            let matching: Vec<_> = by_destination.get(&key(&target)).into_iter().flatten().filter(removes).collect();
            let link = self.link(line);
            let is_own = |known: &&&&(Option<usize>, Route)| known.1.dev.as_deref() == Some(link);
            let Some(own) = matching.iter().find(is_own) else { continue };
            // The kernel has deleted the routes of the interface before these lines run.
            let is_gone = line.phase == Phase::PostDown;
            let mut present = matching.iter().filter(|known| !is_gone || !is_own(known));
            let Some(first) = present.next().filter(|known| !is_own(known)) else { continue };
            let other = first.1.dev.as_deref().unwrap_or_default();
            let message = format!("this deletes a route of {other} ('{}'), which the kernel finds first", first.1);
            let help = match is_gone {
                true => format!("Remove this line: the kernel deletes the routes of {link} when it goes down."),
                false => format!("Write '{}'.", naming_all(&line.command, &own.1)),
            };
            self.warn("manual-deletes-another", index, "", message, help);
        }
    }

    /// Lines for the interface of another stanza: they run when the wrong interface goes up or down.
    pub(crate) fn other_stanzas(&mut self) {
        let mut seen = FxHashSet::default();
        let wrong_tables = self.found.iter().filter(|diagnostic| diagnostic.id == Some("manual-wrong-table"));
        let wrong_tables: FxHashSet<Option<Location>> = wrong_tables.map(|diagnostic| diagnostic.location).collect();
        for index in 0..self.collector.lines.len() {
            let line = self.line(index);
            if !line.phase.is_up()
                || !line.is_policy(self.collector.names)
                || !line.command.adds()
                || !self.is_link(line)
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
            // A rule with the wrong table was reported already.
            if wrong_tables.contains(&Some(line.location)) || !seen.insert((stanza, other.clone())) {
                continue;
            }
            let message =
                format!("this line is for {other} but is in the stanza of {link}: it runs when {link} goes up or down");
            let help = format!("Move the lines for {other} to the stanza of {other}.");
            let keyword = if self.line(index).command.object == Object::Rule { "from" } else { "dev" };
            let word = self.line(index).command.written(keyword);
            self.warn("manual-wrong-stanza", index, &word, message, help);
        }
    }
}

/// The deletion with the gateway and the interface of a route.
fn naming_all(deletion: &Command, route: &Route) -> String {
    let mut text = deletion.text();
    let gateway = route.gateway.map(|gateway| format!(" via {gateway}")).filter(|_| deletion.get("via").is_none());
    let dev = route.dev.as_ref().map(|dev| format!(" dev {dev}")).filter(|_| deletion.get("dev").is_none());
    for word in gateway.into_iter().chain(dev) {
        text += &word;
    }
    text
}

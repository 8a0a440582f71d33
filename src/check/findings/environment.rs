//! Everything except rules and tables: kernel settings, other managers, address translation, sockets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{KEEP_SYSCTL, cuts, sysctl};
use crate::check::facts::Translation;
use crate::check::finding::Finding;
use crate::check::input::CheckInput;
use crate::network::{Address, Family, MAIN};
use crate::policy::Policy;
use crate::uplinks::{MAX_PRIORITY, Uplink, detached};

const NETWORKMANAGER: &str = "networkmanager-manages";
const TWO_INTERFACES: &str = "address-on-two-interfaces";

/// Numbers that findings have proposed. Each is proposed once.
#[derive(Debug, Default)]
struct Proposed {
    marks: FxHashSet<u32>,
    priorities: FxHashSet<u32>,
}

impl CheckInput<'_> {
    /// Received packets that are dropped: the lookup for the reply returns another interface.
    pub(super) fn find_reverse_path_drops(&self, found: &mut Vec<Finding>) {
        let mut reported: Vec<&String> = Vec::new();
        for result in self.results.iter().filter(|result| result.is_received() && !result.is_ok()) {
            let Some(iif) = &result.probe.query.iif else { continue };
            if self.facts.rp_filter(iif) != 1 || reported.contains(&iif) {
                continue;
            }
            reported.push(iif);
            let query = &result.probe.query;
            let from = query.from.map_or(String::new(), |from| format!(" from {from}"));
            let summary = format!(
                "{iif} (IPv4): rp_filter is strict, and the kernel drops packets{from} to {} ({} packets dropped on \
                 all interfaces since boot)",
                query.to, self.facts.dropped
            );
            let effect = "With rp_filter 1, the kernel silently drops a packet if the reply would leave through \
                          another interface.";
            let finding = Finding::error("rp-filter-drops", summary, effect).on(iif, Family::Inet);
            let finding = finding.fix([sysctl(iif, "rp_filter", 2)]).note(KEEP_SYSCTL);
            found.push(finding.before(format!(
                "First fix the other findings for {iif}. If its rules are installed, strict filtering drops no packet \
                 of the uplink."
            )));
        }
    }

    /// Does a rule send marked packets to the uplink?
    fn has_mark_rule(&self, uplink: &Uplink) -> bool {
        let has_its_default = |table: u32| {
            let in_table =
                self.snapshot.routes.iter().filter(|route| route.table == table && route.family == uplink.family);
            in_table
                .filter(|route| route.dst.prefix_len() == 0)
                .any(|route| route.dev.as_ref() == Some(&uplink.interface))
        };
        let rules = self.snapshot.rules.iter().filter(|rule| {
            rule.family == uplink.family && rule.extras.as_ref().is_some_and(|extras| extras.mark.is_some())
        });
        rules.filter(|rule| rule.table != MAIN).any(|rule| has_its_default(rule.table))
    }

    pub(super) fn find_ignored_marks(&self, found: &mut Vec<Finding>) {
        for (index, uplink) in self.plan.uplinks.iter().enumerate() {
            let interface = &uplink.interface;
            // Without a mark, the reverse lookup returns main's default route: that of the primary uplink.
            let is_primary = self.plan.primary.get(&Family::Inet) == Some(&index);
            if uplink.family != Family::Inet
                || !uplink.up
                || is_primary
                || self.facts.rp_filter(interface) != 1
                || self.facts.src_valid_mark(interface)
                || !self.has_mark_rule(uplink)
            {
                continue;
            }
            let summary = format!(
                "{}: a rule sends marked packets to this uplink, but rp_filter is strict and ignores marks",
                uplink.label()
            );
            let effect = "The reverse lookup for a received packet has no mark and returns another interface. The \
                          kernel drops the packet: forwarded connections through this uplink fail.";
            let finding = Finding::error("rp-filter-ignores-marks", summary, effect).on(interface, Family::Inet);
            found.push(finding.fix([sysctl(interface, "rp_filter", 2)]).note(KEEP_SYSCTL));
        }
    }

    /// One address, with its network, on two interfaces: a copied stanza. (An address without a network, /32 or /128,
    /// may be on several interfaces: routers and load balancers use this.)
    pub(super) fn find_shared_addresses(&self, found: &mut Vec<Finding>) {
        let is_up = |dev: &str| self.snapshot.link(dev).is_some_and(|link| link.up && !link.vrf);
        let is_uplink = |dev: &str| self.plan.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.up);
        let mut known: FxHashMap<IpAddr, &Address> = FxHashMap::default();
        for address in self.snapshot.addresses.iter().filter(|address| !address.local && is_up(&address.dev)) {
            if address.net.prefix_len() == address.net.max_prefix_len() {
                continue;
            }
            let first = *known.entry(address.net.addr()).or_insert(address);
            if first.dev == address.dev || !(is_uplink(&first.dev) || is_uplink(&address.dev)) {
                continue;
            }
            // The copy is the address that no uplink needs.
            let (kept, copy) = if is_uplink(&first.dev) { (first, address) } else { (address, first) };
            let family = Family::of(&address.net.addr());
            let summary = format!("{} is on {} and on {}", address.net.addr(), first.dev, address.dev);
            let effect = "Both interfaces accept packets for the address, and the main table has its network on both. \
                          Neighbours may learn the MAC address of the wrong interface, and replies may leave through \
                          it.";
            let finding = Finding::error(TWO_INTERFACES, summary, effect).on(&copy.dev, family);
            let remove = format!("{} addr del {} dev {}; symroute apply", family.ip(), copy.net, copy.dev);
            let finding = finding.fix([detached(&remove)]).before(cuts(&copy.dev));
            found.push(finding.note(match is_uplink(&copy.dev) {
                true => format!(
                    "If {0} needs the address, remove it from {1} instead. Remove it from the stanza of that interface \
                     too. Otherwise the next ifup adds it again.",
                    copy.dev, kept.dev
                ),
                false => format!(
                    "Remove the address from the stanza of {} too. Otherwise the next ifup adds it again.",
                    copy.dev
                ),
            }));
        }
    }

    pub(super) fn find_arp_flux(&self, found: &mut Vec<Finding>) {
        let mut reported: FxHashSet<(&str, &str)> = FxHashSet::default();
        let up = |dev: &str| self.snapshot.link(dev).is_some_and(|link| link.up && link.name != "lo");
        let wide =
            self.snapshot.addresses.iter().filter(|known| known.net.addr().is_ipv4() && known.net.prefix_len() < 32);
        // Each network of an interface once: it may have thousands of addresses.
        let networks: BTreeSet<(&str, IpNet)> =
            wide.filter(|known| up(&known.dev)).map(|known| (&known.dev[..], known.net.trunc())).collect();
        let is_uplink = |dev: &str| self.plan.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.up);
        let pairs = networks.iter().flat_map(|first| networks.iter().map(move |second| (first, second)));
        for ((first, net), (second, other)) in pairs {
            let overlap = net.contains(other) || other.contains(net);
            if first >= second || !overlap || !(is_uplink(first) || is_uplink(second)) {
                continue;
            }
            // No setting helps while both have the same address.
            let is_copy =
                |finding: &Finding| [*first, *second].iter().any(|dev| finding.interface.as_deref() == Some(*dev));
            if found.iter().any(|finding| finding.id == TWO_INTERFACES && is_copy(finding)) {
                continue;
            }
            let open: Vec<&str> = [*first, *second]
                .into_iter()
                .filter(|dev| {
                    !self.facts.arp_filter(dev) && self.facts.rp_filter(dev) != 1 && self.facts.arp_ignore(dev) == 0
                })
                .collect();
            if open.is_empty() || !reported.insert((first, second)) {
                continue;
            }
            let summary =
                format!("{first} and {second}: both are in {net} and reply to ARP requests for each other's address");
            let effect = "Neighbours may learn the MAC address of the wrong interface. Packets for one uplink then \
                 arrive through the other.";
            let is_managed = |dev: &str| {
                let mut uplinks = self.plan.policies.iter().map(|policy| &self.plan.uplinks[policy.uplink]);
                uplinks.any(|uplink| uplink.interface == dev && uplink.family == Family::Inet)
            };
            let finding = Finding::warning("arp-flux", summary, effect).on(open[0], Family::Inet);
            // With arp_filter, an interface replies only if packets to the requester leave through it: this needs a
            // rule for each address.
            let fix: Vec<String> = match is_managed(first) && is_managed(second) {
                true => open.iter().map(|dev| sysctl(dev, "arp_filter", 1)).collect(),
                false => {
                    open.iter().flat_map(|dev| [sysctl(dev, "arp_ignore", 1), sysctl(dev, "arp_announce", 2)]).collect()
                }
            };
            found.push(
                finding.fix(fix).note(format!("Neighbours keep the old MAC address for some minutes. {KEEP_SYSCTL}")),
            );
        }
    }

    pub(super) fn find_other_managers(&self, found: &mut Vec<Finding>) {
        if self.plan.managed.is_empty() {
            return;
        }
        if let Some(networkd) = self.facts.networkd.filter(|networkd| networkd.removes_rules) {
            let when = if networkd.runs { "runs" } else { "is enabled" };
            let summary = format!("systemd-networkd {when}, and its ManageForeignRoutingPolicyRules is not 'no'");
            let effect = "When it starts or reloads, it removes all rules that no .network file describes, also \
                          symroute's (networkd.conf(5)).";
            let finding = Finding::warning("networkd-removes-rules", summary, effect).fix(
                [
                    "mkdir -p /etc/systemd/networkd.conf.d",
                    "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\n' >/etc/systemd/networkd.conf.d/symroute.conf",
                    "systemctl try-restart systemd-networkd",
                    "symroute apply",
                ]
                .map(str::to_string),
            );
            found.push(finding.note(
                "To protect foreign routes on interfaces that networkd manages, add 'ManageForeignRoutes=no' to the \
                 same file.",
            ));
        }
        for uplink in self.plan.managed.iter().map(|index| &self.plan.uplinks[*index]) {
            let known = |finding: &Finding| {
                finding.interface.as_ref() == Some(&uplink.interface) && finding.id == NETWORKMANAGER
            };
            let Some(state) = self.facts.networkmanager.get(&uplink.interface) else { continue };
            if found.iter().any(known) {
                continue;
            }
            let summary = format!("{}: managed by NetworkManager ('{state}') and by ifupdown", uplink.interface);
            let effect = "Two programs set its addresses. If NetworkManager starts first at boot, it tries DHCP. If no \
                          server replies, it removes the addresses that 'ifup' has set.";
            let finding = Finding::warning(NETWORKMANAGER, summary, effect).on(&uplink.interface, uplink.family);
            let fix = [
                format!(
                    "printf '[keyfile]\\nunmanaged-devices+=interface-name:{0}\\n' \
                     >/etc/NetworkManager/conf.d/symroute-{0}.conf",
                    uplink.interface
                ),
                "systemctl try-restart NetworkManager".to_string(),
                "symroute apply".to_string(),
            ];
            let finding = finding.note(
                "Restart NetworkManager, do not reload it. A restart changes no interface; a reload takes down \
                 interfaces that it has brought up.",
            );
            found.push(Finding { family: None, ..finding.fix(fix) });
        }
    }

    /// A mark and two priorities after the policy's rules. No rule and no other finding uses them.
    fn free_mark(&self, policy: &Policy, proposed: &mut Proposed) -> Option<(u32, u32)> {
        let rules = || self.snapshot.rules.iter().filter(|rule| rule.family == Family::Inet);
        let marks: FxHashSet<u32> =
            rules().filter_map(|rule| rule.extras.as_ref()?.mark).map(|(mark, mask)| mark & mask).collect();
        let planned = self.plan.policies.iter().flat_map(|policy| &policy.rules).map(|placed| placed.item.priority);
        let priorities: FxHashSet<u32> = rules().map(|rule| rule.priority).chain(planned).collect();
        // Multiples of ten are proposed for manual rules.
        let is_free =
            |number: &u32| number % 10 != 0 && !priorities.contains(number) && !proposed.priorities.contains(number);
        let both_free = |priority: &u32| is_free(priority) && is_free(&(priority + 1));
        let mark = (policy.table..).find(|mark| !marks.contains(mark) && !proposed.marks.contains(mark))?;
        let priority = (policy.priority + 2..MAX_PRIORITY).find(both_free)?;
        proposed.marks.insert(mark);
        proposed.priorities.extend([priority, priority + 1]);
        Some((mark, priority))
    }

    pub(super) fn find_unmarked_translations(&self, found: &mut Vec<Finding>) {
        let mut proposed = Proposed::default();
        for (index, uplink) in self.plan.uplinks.iter().enumerate() {
            let is_primary = self.plan.primary.get(&Family::Inet) == Some(&index);
            if uplink.family != Family::Inet || is_primary || !uplink.up || !self.plan.managed.contains(&index) {
                continue;
            }
            let own = |address: &String| uplink.sources.iter().any(|source| source.net.addr().to_string() == *address);
            let concerns = |translation: &&Translation| {
                // nft's only pattern is a star at the end (nft(8)).
                let named = |name: &String| match name.strip_suffix('*') {
                    Some(prefix) => uplink.interface.starts_with(prefix),
                    None => *name == uplink.interface,
                };
                let through = translation.iif.as_ref().is_none_or(|(is, names)| names.iter().any(named) == *is);
                through && translation.daddr.as_ref().is_none_or(own)
            };
            let Some(translation) = self.facts.translations.iter().find(concerns) else { continue };
            if self.has_mark_rule(uplink) {
                continue;
            }
            let Some(policy) = self.plan.policy(index) else { continue };
            let summary = format!(
                "{}: connections are forwarded to other hosts ('nft list chain {}'), but their replies are not marked \
                 for this uplink",
                uplink.label(),
                translation.chain
            );
            let effect = "Replies from the container still carry the container's address when the route is selected, \
                          so symroute's rules do not match. They leave through the main table's default route and are \
                          dropped.";
            let Some((mark, priority)) = self.free_mark(policy, &mut proposed) else { continue };
            let link = &uplink.interface;
            let table = format!("symroute_{}", link.replace(['.', '-', '@', '+'], "_"));
            let fix = [
                format!("nft add table ip {table}"),
                format!("nft add chain ip {table} prerouting '{{ type filter hook prerouting priority mangle; }}'"),
                format!("nft add rule ip {table} prerouting iifname {link} ct state new ct mark set {mark}"),
                format!("nft add rule ip {table} prerouting iifname != {link} ct mark {mark} meta mark set ct mark"),
                format!("ip rule add fwmark {mark} lookup main suppress_prefixlength 1 priority {priority}"),
                format!("ip rule add fwmark {mark} lookup {} priority {}", policy.table, priority + 1),
            ];
            let finding = Finding::error("dnat-without-marks", summary, effect).on(link, Family::Inet).fix(fix);
            found.push(finding.note(
                "These commands last until the next boot. To keep them, see 'symroute check --explain \
                 dnat-without-marks'. If these ports are not needed through this uplink, restrict the translation to \
                 the other uplink.",
            ));
        }
    }

    pub(super) fn find_wildcard_sockets(&self, found: &mut Vec<Finding>) {
        for socket in &self.facts.udp {
            let family = Family::of_inet6(socket.inet6);
            // A socket on [::] receives IPv4 too: a second uplink in either family is enough.
            let families = [family, Family::Inet];
            let has_several = |family: &Family| {
                let up = self.plan.uplinks.iter().filter(|uplink| uplink.family == *family && uplink.up);
                up.count() > 1
            };
            if !families.iter().any(has_several) {
                continue;
            }
            let address = if socket.inet6 { "[::]" } else { "0.0.0.0" };
            let program = match (&socket.program, socket.pid) {
                (Some(program), Some(pid)) => format!("{program} (process {pid})"),
                _ => "a program".to_string(),
            };
            let summary = format!("{program}: one UDP socket on {address}:{} for all addresses", socket.port);
            let effect = "If the program does not set the source address of its replies (IP_PKTINFO), the kernel \
                          selects the primary uplink's. Clients of the other uplinks ignore such replies. No rule can \
                          fix this.";
            let finding =
                Finding { what: Some(socket.port.to_string()), ..Finding::warning("wildcard-udp", summary, effect) };
            found.push(finding.note(format!(
                "Configure the program to listen on each address. If its replies have the correct source address, \
                 ignore this finding: 'symroute check --ignore wildcard-udp:{}'.",
                socket.port
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expected::tests::{snapshot, uplinks};
    use crate::check::facts::Facts;
    use crate::check::status;
    use crate::commands::tables::Names;
    use crate::network::{RuleExtras, Snapshot};
    use crate::policy::plan;
    use crate::uplinks::Discovery;

    /// Each command that adds an entry uses its own number.
    #[test]
    fn no_two_findings_propose_one_number() {
        let three = "eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1\n \
                     eth2 203.0.113.10/24 via 203.0.113.1";
        let plan = plan(Discovery { uplinks: uplinks(three), ..Discovery::default() }, None, &Names::default(), None);
        // A foreign mark has the number of the second table.
        let mut rule = plan.policies[0].rules[0].item.clone();
        rule.extras = Some(Box::new(RuleExtras { mark: Some((2, u32::MAX)), ..RuleExtras::default() }));
        let snapshot = Snapshot { rules: vec![rule], ..snapshot("0.0.0.0/0 via 192.0.2.1 dev eth0") };
        let translations = vec![Translation { chain: "ip nat prerouting".into(), iif: None, daddr: None }];
        let (status, facts) = (status(&plan, &snapshot), Facts { translations, ..Facts::default() });
        let input = CheckInput::of(&plan, &snapshot, &status, &facts, &[]);
        let mut found = Vec::new();
        input.find_unmarked_translations(&mut found);
        let commands: Vec<&String> = found.iter().flat_map(|finding| &finding.fix).collect();
        let numbers = |before: &str| {
            let after = commands.iter().filter_map(|command| command.split(before).nth(1)?.split(' ').next());
            after.map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(numbers("mark set "), ["3", "ct", "4", "ct"], "{commands:#?}");
        let priorities = numbers(" priority ");
        let rules: Vec<_> = priorities.iter().filter(|word| word.parse::<u32>().is_ok()).collect();
        assert_eq!((rules.len(), rules.iter().collect::<FxHashSet<_>>().len()), (4, 4), "{commands:#?}");
    }
}

//! What stands beside rules and tables: kernel settings, other managers, translated addresses, sockets.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Host, KEEP_SYSCTL, sysctl};
use crate::check::facts::Translation;
use crate::check::finding::Finding;
use crate::check::foreign::ip;
use crate::interfaces::Family;
use crate::policy::Policy;
use crate::snapshot::{Address, MAIN};
use crate::uplinks::{MAX_PRIORITY, Uplink};

const NM: &str = "networkmanager-manages";
const TWO_INTERFACES: &str = "address-on-two-interfaces";

impl Host<'_> {
    /// What comes in and is dropped: the reverse lookup names another link than the one it came through.
    pub(super) fn reverse_path(&self, found: &mut Vec<Finding>) {
        let mut links: Vec<&String> = Vec::new();
        for asked in self.asked.iter().filter(|asked| asked.is_received() && !asked.is_right()) {
            let Some(iif) = &asked.probe.query.iif else { continue };
            if self.facts.rp_filter(iif) != 1 || links.contains(&iif) {
                continue;
            }
            links.push(iif);
            let query = &asked.probe.query;
            let from = query.from.map_or(String::new(), |from| from.to_string());
            let seen = format!(
                "rp_filter is strict on {iif}, and the kernel refuses what comes in there from {from} to {}: it would \
                 answer another way ({} packets dropped so far, on all links)",
                query.to, self.facts.dropped
            );
            let why = "With rp_filter 1 the kernel drops what it would not answer through the link that it came from, \
                       without a word.";
            let finding = Finding::error("rp-filter-drops", seen, why).on(iif, Family::Inet);
            let finding = finding.mend([sysctl(iif, "rp_filter", 2)]).advice(KEEP_SYSCTL);
            found.push(finding.before(format!(
                "First fix the other findings of {iif}: with its rules installed, strict mode drops nothing."
            )));
        }
    }

    /// Uplinks that a rule for marked packets leads to.
    fn marked(&self, uplink: &Uplink) -> bool {
        let table_is_its = |table: u32| {
            let in_table =
                self.snapshot.routes.iter().filter(|route| route.table == table && route.family == uplink.family);
            in_table
                .filter(|route| route.dst.prefix_len() == 0)
                .any(|route| route.dev.as_ref() == Some(&uplink.interface))
        };
        let rules =
            self.snapshot.rules.iter().filter(|rule| {
                rule.family == uplink.family && rule.more.as_ref().is_some_and(|more| more.mark.is_some())
            });
        rules.filter(|rule| rule.table != MAIN).any(|rule| table_is_its(rule.table))
    }

    pub(super) fn marks(&self, found: &mut Vec<Finding>) {
        for uplink in self.plan.uplinks.iter().filter(|uplink| uplink.family == Family::Inet && uplink.up) {
            let link = &uplink.interface;
            if self.facts.rp_filter(link) != 1 || self.facts.src_valid_mark(link) || !self.marked(uplink) {
                continue;
            }
            let seen =
                format!("a rule leads marked packets to {link}, but rp_filter is strict there and ignores marks");
            let why = "The reverse lookup for what comes in has no mark, finds another link and drops the packet: \
                       forwarded connections through this uplink get no answer.";
            let finding = Finding::error("rp-filter-ignores-marks", seen, why).on(link, Family::Inet);
            found.push(finding.mend([sysctl(link, "rp_filter", 2)]).advice(KEEP_SYSCTL));
        }
    }

    /// One address, with its network, on two interfaces: a copied stanza. (A whole address alone may be on several: a
    /// router's for its machines, a load balancer's.)
    pub(super) fn same_address(&self, found: &mut Vec<Finding>) {
        let is_up = |dev: &str| self.snapshot.link(dev).is_some_and(|link| link.up && !link.vrf);
        let is_uplink = |dev: &str| self.plan.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.up);
        let mut known: HashMap<IpAddr, &Address> = HashMap::new();
        for address in self.snapshot.addresses.iter().filter(|address| !address.local && is_up(&address.dev)) {
            if address.net.prefix_len() == address.net.max_prefix_len() {
                continue;
            }
            let first = *known.entry(address.net.addr()).or_insert(address);
            if first.dev == address.dev || !(is_uplink(&first.dev) || is_uplink(&address.dev)) {
                continue;
            }
            // What no uplink needs is the copy.
            let (kept, copy) = if is_uplink(&first.dev) { (first, address) } else { (address, first) };
            let family = if address.net.addr().is_ipv6() { Family::Inet6 } else { Family::Inet };
            let seen = format!("{} is on {} and on {}", address.net.addr(), first.dev, address.dev);
            let why = "Both interfaces accept packets for the address, and main has its network on both. Neighbours may \
                       learn the MAC address of the wrong interface, and replies may leave through it.";
            let finding = Finding::error(TWO_INTERFACES, seen, why).on(&copy.dev, family);
            found.push(match is_uplink(&copy.dev) {
                true => finding.advice(format!(
                    "Remove the address from the stanza of {} or of {}. Then run 'ifdown' and 'ifup' for it: that cuts its \
                     connections.",
                    kept.dev, copy.dev
                )),
                false => finding
                    .mend([format!("{} addr del {} dev {}", ip(family), copy.net, copy.dev), "symroute apply".into()])
                    .advice(format!(
                        "Remove the address from the stanza of {} too, or the next ifup adds it again.",
                        copy.dev
                    )),
            });
        }
    }

    pub(super) fn same_subnet(&self, found: &mut Vec<Finding>) {
        let mut met: HashSet<(&str, &str)> = HashSet::new();
        let up = |dev: &str| self.snapshot.link(dev).is_some_and(|link| link.up && link.name != "lo");
        let wide =
            self.snapshot.addresses.iter().filter(|known| known.net.addr().is_ipv4() && known.net.prefix_len() < 32);
        // Each network of a link once: it may have thousands of addresses.
        let networks: BTreeSet<(&str, IpNet)> =
            wide.filter(|known| up(&known.dev)).map(|known| (&known.dev[..], known.net.trunc())).collect();
        let is_uplink = |dev: &str| self.plan.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.up);
        let pairs = networks.iter().flat_map(|first| networks.iter().map(move |second| (first, second)));
        for ((first, net), (second, other)) in pairs {
            let overlap = net.contains(other) || other.contains(net);
            if first >= second || !overlap || !(is_uplink(first) || is_uplink(second)) {
                continue;
            }
            // No setting helps while both have one address.
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
            if open.is_empty() || !met.insert((first, second)) {
                continue;
            }
            let seen = format!("{first} and {second} are both in {net}, and each answers ARP for the other's address");
            let why =
                "Neighbours learn one card for both addresses: what is for one uplink comes in through the other.";
            let managed = |dev: &str| {
                let mut own = self.plan.policies.iter().map(|policy| &self.plan.uplinks[policy.uplink]);
                own.any(|uplink| uplink.interface == dev && uplink.family == Family::Inet)
            };
            let finding = Finding::error("arp-flux", seen, why).on(open[0], Family::Inet);
            // arp_filter answers where a packet to the asker would leave: that needs a rule for each address.
            let mend: Vec<String> = match managed(first) && managed(second) {
                true => open.iter().map(|dev| sysctl(dev, "arp_filter", 1)).collect(),
                false => {
                    open.iter().flat_map(|dev| [sysctl(dev, "arp_ignore", 1), sysctl(dev, "arp_announce", 2)]).collect()
                }
            };
            found.push(
                finding.mend(mend).advice(format!("Neighbours keep what they learnt for some minutes. {KEEP_SYSCTL}")),
            );
        }
    }

    pub(super) fn managers(&self, found: &mut Vec<Finding>) {
        if self.plan.managed.is_empty() {
            return;
        }
        if let Some(networkd) = self.facts.networkd.filter(|networkd| networkd.removes_rules) {
            let when = if networkd.runs { "runs" } else { "is enabled" };
            let seen = format!("systemd-networkd {when} and is not told to leave other programs' rules alone");
            let why = "Whenever it starts or reloads, it removes every rule that no .network file describes, symroute's \
                       too (networkd.conf(5), ManageForeignRoutingPolicyRules).";
            let finding = Finding::warning("networkd-removes-rules", seen, why).mend(
                [
                    "mkdir -p /etc/systemd/networkd.conf.d",
                    "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\n' >/etc/systemd/networkd.conf.d/symroute.conf",
                    "systemctl try-restart systemd-networkd",
                    "symroute apply",
                ]
                .map(str::to_string),
            );
            found.push(finding.advice(
                "For good measure 'ManageForeignRoutes=no' in the same file keeps it from routes on links that it manages.",
            ));
        }
        for uplink in self.plan.managed.iter().map(|at| &self.plan.uplinks[*at]) {
            let known = |finding: &Finding| finding.interface.as_ref() == Some(&uplink.interface) && finding.id == NM;
            let Some(state) = self.facts.networkmanager.get(&uplink.interface) else { continue };
            if found.iter().any(known) {
                continue;
            }
            let seen = format!("NetworkManager manages {} as well as ifupdown: '{state}'", uplink.interface);
            let why = "Two programs set its addresses. When NetworkManager comes first at boot, it asks for DHCP there; \
                       without an answer it takes away what 'ifup' has set in the meantime.";
            let finding = Finding::warning(NM, seen, why).on(&uplink.interface, uplink.family);
            let mend = [
                format!(
                    "printf '[keyfile]\\nunmanaged-devices+=interface-name:{0}\\n' \
                     >/etc/NetworkManager/conf.d/symroute-{0}.conf",
                    uplink.interface
                ),
                "systemctl try-restart NetworkManager".to_string(),
                "symroute apply".to_string(),
            ];
            let finding = finding.advice(
                "NetworkManager leaves every link as it is when it stops. Do not reload it instead: that takes down a \
                 link that it has brought up.",
            );
            found.push(Finding { family: None, ..finding.mend(mend) });
        }
    }

    /// A mark that no rule names, and the first of two priorities behind the policy's rules that no rule has.
    fn free_mark(&self, policy: &Policy) -> Option<(u32, u32)> {
        let rules = || self.snapshot.rules.iter().filter(|rule| rule.family == Family::Inet);
        let marks: HashSet<u32> =
            rules().filter_map(|rule| rule.more.as_ref()?.mark).map(|(mark, mask)| mark & mask).collect();
        let planned = self.plan.policies.iter().flat_map(|policy| &policy.rules).map(|placed| placed.item.priority);
        let priorities: HashSet<u32> = rules().map(|rule| rule.priority).chain(planned).collect();
        let is_free = |priority: &u32| (*priority..*priority + 2).all(|priority| !priorities.contains(&priority));
        let mark = (policy.table..).find(|mark| !marks.contains(mark))?;
        Some((mark, (policy.priority + 2..MAX_PRIORITY).find(is_free)?))
    }

    pub(super) fn translations(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let primary = self.plan.primary.get(&Family::Inet) == Some(&at);
            if uplink.family != Family::Inet || primary || !uplink.up || !self.plan.managed.contains(&at) {
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
            if self.marked(uplink) {
                continue;
            }
            let Some(policy) = self.plan.policy(at) else { continue };
            let seen = format!(
                "connections that come in through {} are passed on to other hosts ('nft list chain {}'), but their \
                 answers are not marked to leave by it",
                uplink.interface, translation.chain
            );
            let why = "An answer of such a host, a container for example, has that host's address until the last moment: \
                       no rule for the uplink's addresses matches it, it leaves through main's default and is dropped.";
            let Some((mark, priority)) = self.free_mark(policy) else { continue };
            let link = &uplink.interface;
            let table = format!("symroute_{}", link.replace(['.', '-', '@', '+'], "_"));
            let mend = [
                format!("nft add table ip {table}"),
                format!("nft add chain ip {table} prerouting '{{ type filter hook prerouting priority mangle; }}'"),
                format!("nft add rule ip {table} prerouting iifname {link} ct state new ct mark set {mark}"),
                format!("nft add rule ip {table} prerouting iifname != {link} ct mark {mark} meta mark set ct mark"),
                format!("ip rule add fwmark {mark} lookup main suppress_prefixlength 1 priority {priority}"),
                format!("ip rule add fwmark {mark} lookup {} priority {}", policy.table, priority + 1),
            ];
            let finding = Finding::error("dnat-without-marks", seen, why).on(link, Family::Inet).mend(mend);
            found.push(finding.advice(
                "These last until the next boot: 'symroute check --explain dnat-without-marks' says how to keep them. If \
                 nothing outside is to reach those ports through this uplink, restrict the translation to the other one.",
            ));
        }
    }

    pub(super) fn sockets(&self, found: &mut Vec<Finding>) {
        for socket in &self.facts.udp {
            let family = if socket.inet6 { Family::Inet6 } else { Family::Inet };
            // A socket on [::] serves IPv4 too: either family with a second way out is enough.
            let families = [family, Family::Inet];
            let several = |family: &Family| {
                let up = self.plan.uplinks.iter().filter(|uplink| uplink.family == *family && uplink.up);
                up.count() > 1
            };
            if !families.iter().any(several) {
                continue;
            }
            let address = if socket.inet6 { "[::]" } else { "0.0.0.0" };
            let who = match (&socket.program, socket.pid) {
                (Some(program), Some(pid)) => format!("{program} (process {pid})"),
                _ => "a program".to_string(),
            };
            let seen = format!("{who} serves UDP on {address}:{} for all addresses with one socket", socket.port);
            let why = "Unless the program answers from the address that was asked (IP_PKTINFO), its answers carry that of \
                       main's default uplink: clients of the other uplinks never see them. No rule can repair that.";
            let finding =
                Finding { what: Some(socket.port.to_string()), ..Finding::warning("wildcard-udp", seen, why) };
            found.push(finding.advice(format!(
                "Let it listen on each address by name. If it does answer right: 'symroute check --ignore \
                 wildcard-udp:{}'.",
                socket.port
            )));
        }
    }
}

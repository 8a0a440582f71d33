//! `symroute explain`: one lookup, rule by rule, and the kernel's own answer to it.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::common::{Common, Exit, print, print_json};
use crate::netlink::{self, Socket};
use crate::network::lookup::{Comparison, Lookup, Outcome, lookup};
use crate::network::{Answer, Family, Kind, Query, Snapshot};
use crate::report;
use crate::system::sysctl;

/// Rules and routes may change between reading them and asking the kernel: a difference counts when it lasts.
const TRIES: usize = 3;

#[derive(Debug, Clone, clap::Args)]
pub struct ExplainArguments {
    /// Source address [default: a socket without a source address]
    #[arg(long, value_name = "ADDR")]
    from: Option<IpAddr>,
    /// Destination address
    #[arg(long, value_name = "ADDR")]
    to: IpAddr,
    /// Interface on which the packet is received
    #[arg(long, value_name = "DEV", conflicts_with_all = ["oif", "uid"], requires = "from")]
    iif: Option<String>,
    /// Interface to which the socket is bound
    #[arg(long, value_name = "DEV")]
    oif: Option<String>,
    /// Mark of the packet, decimal or hexadecimal (0x)
    #[arg(long, value_name = "N", default_value = "0", value_parser = number)]
    mark: u32,
    /// User ID of the socket [default: yours]
    #[arg(long, value_name = "N")]
    uid: Option<u32>,
    /// Protocol, for rules with 'ipproto': tcp, udp or icmp
    #[arg(long, value_name = "NAME", default_value = "udp", value_parser = ["tcp", "udp", "icmp"])]
    ipproto: String,
    /// Source port, for rules with 'sport'
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    sport: u16,
    /// Destination port, for rules with 'dport'
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    dport: u16,
    /// Print JSON; routes and rules have the keys of 'ip -json'
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
}

impl ExplainArguments {
    /// The lookup; rejects what the walk is not made for.
    fn query(&self, snapshot: &Snapshot) -> Result<Query> {
        if let Some(from) = self.from.filter(|from| from.is_ipv4() != self.to.is_ipv4()) {
            bail!("{from} and {} have different address families", self.to);
        }
        let zero = |address: &IpAddr| matches!(address, IpAddr::V4(address) if address.octets()[0] == 0);
        let group = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
        for address in [Some(self.to), self.from].into_iter().flatten() {
            if group(&address) || address.is_unspecified() || zero(&address) {
                bail!("{address} is not a unicast address of a host");
            }
        }
        if let Some(from) = self.from.filter(|from| from.is_loopback() && !self.to.is_loopback()) {
            bail!("{from} is a loopback address: packets from it do not leave the host");
        }
        for dev in [&self.iif, &self.oif].into_iter().flatten() {
            if snapshot.link(dev).is_none() {
                let names: Vec<&str> = snapshot.links.iter().map(|link| link.name.as_str()).collect();
                bail!("interface {dev} not found; interfaces: {}", names.join(", "));
            }
        }
        if self.iif.as_deref() == Some("lo") {
            bail!("--iif lo is not supported; omit it for locally generated packets");
        }
        let ip_protocol = match self.ipproto.as_str() {
            "tcp" => 6,
            "icmp" if self.to.is_ipv6() => 58,
            "icmp" => 1,
            _ => 17,
        };
        Ok(Query {
            from: self.from,
            to: self.to,
            iif: self.iif.clone(),
            oif: self.oif.clone(),
            mark: self.mark,
            uid: self.uid.unwrap_or_else(|| nix::unistd::getuid().as_raw()),
            ip_protocol,
            sport: self.sport,
            dport: self.dport,
        })
    }
}

pub fn explain(common: &Common, question: &ExplainArguments) -> Result<Exit> {
    common.require_no_files()?;
    let mut socket = Socket::open()?;
    let mut tries = 0;
    loop {
        let snapshot = netlink::snapshot(&mut socket)?;
        let query = question.query(&snapshot)?;
        let context = netlink::context(&mut socket, &query, &snapshot, sysctl::forwards(&query))?;
        let walked = lookup(&snapshot, &context, &query);
        let answer = socket.lookup(&query, &snapshot.links)?;
        tries += 1;
        let verdict = walked.compare(&query, &answer);
        if verdict == Comparison::Differs && tries < TRIES {
            continue;
        }
        let again = |source| lookup(&snapshot, &context, &Query { from: Some(source), ..query.clone() });
        let dropped = dropped(&query, &answer, context.forwards);
        let notes: Vec<String> =
            source_notes(&snapshot, &query, &answer, &walked, &again).into_iter().chain(dropped.clone()).collect();
        if question.json {
            print_json(&report::explain_json(&query, &walked, &answer, &notes))?;
        } else if !common.quiet {
            print(report::explain_text(&query, &walked, &answer, common.verbose, &notes))?;
        }
        let arrives = matches!(answer, Answer::Route(_)) && dropped.is_none();
        let found = !matches!(walked.outcome, Outcome::OnLink { .. });
        return Ok(if arrives && found && verdict != Comparison::Differs { Exit::Yes } else { Exit::No });
    }
}

/// What there is to say about the source address.
fn source_notes(
    snapshot: &Snapshot,
    query: &Query,
    answer: &Answer,
    walked: &Lookup,
    again: &dyn Fn(IpAddr) -> Lookup,
) -> Option<String> {
    let own = |address: IpAddr| snapshot.addresses.iter().any(|known| known.net.addr() == address);
    match (query.from, answer) {
        (Some(from), _) if query.family() == Family::Inet6 && query.iif.is_none() && !own(from) => {
            Some(format!("{from} is not configured on an interface of this host: no socket can be bound to it."))
        }
        (None, Answer::Route(way)) => {
            let source = way.source?;
            let chosen = format!("No source is given; the kernel chooses {source}.");
            // inet6 sockets keep the route that they chose the source by; inet ones ask again (ip_route_connect).
            if query.family() == Family::Inet6 || way.kind == Kind::Local {
                return Some(chosen);
            }
            let second = again(source);
            let same = match (&walked.outcome, &second.outcome) {
                (Outcome::Route { candidates: first, .. }, Outcome::Route { candidates: second, .. }) => {
                    let plain = |way: &crate::network::ResolvedRoute| (way.dev.clone(), way.gateway);
                    first.iter().map(plain).eq(second.iter().map(plain))
                }
                (first, second) => first == second,
            };
            Some(match same {
                true => {
                    format!("{chosen} The lookup of a connecting socket is repeated with it and gives the same route.")
                }
                false => format!(
                    "{chosen} The lookup of a connecting socket is repeated with it and gives another route: {}",
                    report::outcome_text(&second)
                ),
            })
        }
        _ => None,
    }
}

/// inet6: the lookup does not say that a host that does not forward drops what is not for itself.
fn dropped(query: &Query, answer: &Answer, forwards: bool) -> Option<String> {
    let passes = matches!(answer, Answer::Route(way) if !matches!(way.kind, Kind::Local | Kind::Anycast));
    (query.family() == Family::Inet6 && query.iif.is_some() && passes && !forwards).then(|| {
        "But this host drops the packet: it does not forward IPv6 (net.ipv6.conf.all.forwarding is 0).".to_string()
    })
}

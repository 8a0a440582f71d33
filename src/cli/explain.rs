//! `symroute explain`: one lookup, rule by rule, and the kernel's own answer to it.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::{Common, Exit, say, say_json};
use crate::check::walk::{Outcome, Verdict, Walk, walk};
use crate::interfaces::Family;
use crate::kernel::{self, Socket};
use crate::report;
use crate::snapshot::{Answer, Kind, Query, Snapshot};

/// Rules and routes may change between reading them and asking the kernel: a difference counts when it lasts.
const TRIES: usize = 3;

#[derive(Debug, Clone, clap::Args)]
pub struct Question {
    /// The source; without it, a socket that is not bound to an address
    #[arg(long, value_name = "ADDR")]
    from: Option<IpAddr>,
    /// The destination
    #[arg(long, value_name = "ADDR")]
    to: IpAddr,
    /// The packet comes in by this device
    #[arg(long, value_name = "DEV", conflicts_with_all = ["oif", "uid"], requires = "from")]
    iif: Option<String>,
    /// The socket is bound to this device
    #[arg(long, value_name = "DEV")]
    oif: Option<String>,
    /// The packet's mark, decimal or 0x…
    #[arg(long, value_name = "N", default_value = "0", value_parser = number)]
    mark: u32,
    /// Whose socket it is, by number; without it, yours
    #[arg(long, value_name = "N")]
    uid: Option<u32>,
    /// For rules with 'ipproto': tcp, udp or icmp
    #[arg(long, value_name = "NAME", default_value = "udp", value_parser = ["tcp", "udp", "icmp"])]
    ipproto: String,
    /// For rules with 'sport'
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    sport: u16,
    /// For rules with 'dport'
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    dport: u16,
    /// Print JSON with iproute2's keys
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
}

impl Question {
    /// The lookup; refuses what the walk is not made for.
    fn query(&self, snapshot: &Snapshot) -> Result<Query> {
        if let Some(from) = self.from.filter(|from| from.is_ipv4() != self.to.is_ipv4()) {
            bail!("{from} and {} are not of one family: give two IPv4 or two IPv6 addresses", self.to);
        }
        let zero = |address: &IpAddr| matches!(address, IpAddr::V4(address) if address.octets()[0] == 0);
        let group = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
        for address in [Some(self.to), self.from].into_iter().flatten() {
            if group(&address) || address.is_unspecified() || zero(&address) {
                bail!("{address} is not the address of one host, and explain follows packets between two");
            }
        }
        if let Some(from) = self.from.filter(|from| from.is_loopback() && !self.to.is_loopback()) {
            bail!("{from} is a loopback address: packets from it do not leave the host");
        }
        for dev in [&self.iif, &self.oif].into_iter().flatten() {
            if snapshot.link(dev).is_none() {
                let names: Vec<&str> = snapshot.links.iter().map(|link| link.name.as_str()).collect();
                bail!("there is no device {dev}; there is {}", names.join(", "));
            }
        }
        if self.iif.as_deref() == Some("lo") {
            bail!("what comes in by lo was sent by this host: leave --iif out");
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

pub fn explain(common: &Common, question: &Question) -> Result<Exit> {
    let mut socket = Socket::open()?;
    let mut tries = 0;
    loop {
        let snapshot = kernel::snapshot(&mut socket)?;
        let query = question.query(&snapshot)?;
        let surroundings = kernel::surroundings(&mut socket, &query, &snapshot)?;
        let walked = walk(&snapshot, &surroundings, &query);
        let answer = socket.lookup(&query, &snapshot.links)?;
        tries += 1;
        let verdict = walked.verdict(&query, &answer);
        if verdict == Verdict::Differs && tries < TRIES {
            continue;
        }
        let again = |source| walk(&snapshot, &surroundings, &Query { from: Some(source), ..query.clone() });
        let dropped = dropped(&query, &answer, surroundings.forwards);
        let notes: Vec<String> =
            source_notes(&snapshot, &query, &answer, &walked, &again).into_iter().chain(dropped.clone()).collect();
        if question.json {
            say_json(&report::explain_json(&query, &walked, &answer, &notes))?;
        } else if !common.quiet {
            say(report::explain_text(&query, &walked, &answer, common.verbose, &notes))?;
        }
        let arrives = matches!(answer, Answer::Route(_)) && dropped.is_none();
        let found = !matches!(walked.outcome, Outcome::OnLink { .. });
        return Ok(if arrives && found && verdict != Verdict::Differs { Exit::Yes } else { Exit::No });
    }
}

/// What there is to say about the source address.
fn source_notes(
    snapshot: &Snapshot,
    query: &Query,
    answer: &Answer,
    walked: &Walk,
    again: &dyn Fn(IpAddr) -> Walk,
) -> Option<String> {
    let own = |address: IpAddr| snapshot.addresses.iter().any(|known| known.net.addr() == address);
    match (query.from, answer) {
        (Some(from), _) if query.family() == Family::Inet6 && query.iif.is_none() && !own(from) => {
            Some(format!("{from} is not an address of this host: it answers, but no socket can be bound to it."))
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
                (Outcome::Route { ways: first, .. }, Outcome::Route { ways: second, .. }) => {
                    let plain = |way: &crate::snapshot::Way| (way.dev.clone(), way.gateway);
                    first.iter().map(plain).eq(second.iter().map(plain))
                }
                (first, second) => first == second,
            };
            Some(match same {
                true => format!("{chosen} A socket that connects is looked up again with it, and goes the same way."),
                false => format!(
                    "{chosen} A socket that connects is looked up again with it, and goes another way: {}",
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

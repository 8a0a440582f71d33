//! Uplinks of small files and small kernels, whole.

use std::net::IpAddr;

use crate::commands::tables::Names;
use crate::interfaces::{Config, Dialect};
use crate::network::{
    Address, Family, Lease, Link, MAIN, Nexthop, PROTOCOL, Route, RouteExtras, RouteState, Rule, Snapshot,
};
use crate::system::files::Root;
use crate::uplinks::{Discovery, Gateway, Missing, Origin, find, intended};

fn config(text: &str, dialect: Dialect) -> Config {
    Config::parse("/f".as_ref(), text.into(), &Root::new("/nowhere".as_ref()), dialect)
}

/// Each uplink in one line.
fn lines(found: &Discovery) -> Vec<String> {
    let line = |uplink: &super::Uplink| {
        let gateway = match uplink.gateway {
            Gateway::Unknown => "-".into(),
            Gateway::OnLink => "none".into(),
            Gateway::Address(address) => address.to_string(),
        };
        let mut line = format!("{} on {} via {gateway}", uplink.label(), uplink.interface);
        if let Some(metric) = uplink.metric {
            line += &format!(" metric {metric}");
        }
        line += match uplink.origin {
            _ if uplink.skipped.is_some() => " skipped",
            Origin::Options if !uplink.in_main => " not in main",
            Origin::Options => "",
            Origin::Line { .. } => " by line",
            Origin::Main => " by main",
        };
        for source in &uplink.sources {
            let prefix = if source.by_prefix { " prefix " } else { " " };
            line += &format!("{prefix}{}", source.net);
            line +=
                &source.other_interface.as_ref().map_or(String::new(), |other_interface| format!("@{other_interface}"));
        }
        if uplink.up { line } else { line + " down" }
    };
    found.uplinks.iter().map(line).collect()
}

fn by_files_in(text: &str, dialect: Dialect) -> Vec<String> {
    lines(&find(&config(text, dialect), None, &[], &Names::default()))
}

fn by_files(text: &str) -> Vec<String> {
    by_files_in(text, Dialect::Ifupdown)
}

/// A kernel with eth0 to eth3, lo and others; addresses as `DEV ADDRESS/LENGTH`.
fn kernel(addresses: &[&str], routes: Vec<Route>) -> Snapshot {
    let names = ["lo", "eth0", "eth1", "eth2", "eth3", "tun0"];
    let link =
        |(at, name): (usize, &&str)| Link { index: at as u32, name: name.to_string(), up: true, ..Link::default() };
    let address = |text: &&str| {
        let (dev, net) = text.split_once(' ').unwrap();
        Address { dev: dev.into(), net: net.parse().unwrap(), peer: None, local: false, duplicate: false }
    };
    Snapshot {
        links: names.iter().enumerate().map(link).collect(),
        addresses: addresses.iter().map(address).collect(),
        routes,
        ..Snapshot::default()
    }
}

/// A default route; `dev` may be nothing for one of several nexthops.
fn default(table: u32, gateway: &str, dev: &str, metric: u32) -> Route {
    let gateway: Option<IpAddr> = gateway.parse().ok();
    let inet6 = gateway.is_some_and(|gateway| gateway.is_ipv6());
    Route {
        family: Family::of_inet6(inet6),
        table,
        dst: if inet6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap(),
        gateway,
        dev: Some(dev.to_string()),
        scope: 0,
        metric,
        onlink: false,
        protocol: if table == MAIN { 3 } else { PROTOCOL },
        extras: None,
        state: RouteState::default(),
    }
}

/// A rule of symroute's.
fn rule(src: &str, table: u32) -> Rule {
    let (family, priority, protocol) = (Family::Inet, 100, PROTOCOL);
    let src = src.parse().ok();
    Rule {
        family,
        priority,
        src,
        oif: None,
        table,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol,
        extras: None,
    }
}

fn held(text: &str, snapshot: &Snapshot, leaving: &[&str]) -> Discovery {
    find(&config(text, Dialect::Ifupdown), Some(snapshot), leaving, &Names::default())
}

const TWO: &str = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                   iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n metric 20\n";

const TWO_ADDRESSES: [&str; 2] = ["eth0 192.0.2.10/24", "eth1 198.51.100.10/24"];

/// As `held`, with what ifup has noted.
fn held_as(text: &str, active: &[(&str, &str)], snapshot: &Snapshot, leaving: &[&str]) -> Discovery {
    let mut config = config(text, Dialect::Ifupdown);
    config.active = active.iter().map(|(link, stanza)| ((*link).into(), (*stanza).into())).collect();
    find(&config, Some(snapshot), leaving, &Names::default())
}

const UP: [(&str, &str); 3] = [("lo", "lo"), ("eth0", "eth0"), ("eth1", "eth1")];

mod files;
mod gateways;
mod interfaces;
mod messages;

//! Uplinks of small files and small kernels, whole.

use std::net::IpAddr;

use crate::files::Root;
use crate::interfaces::{Config, Dialect, Family};
use crate::snapshot::{Address, Link, MAIN, Nexthop, PROTOCOL, Route, RouteMore, Rule, Snapshot, State};
use crate::tables::Names;
use crate::uplinks::{Found, Lack, Origin, find, intended};

fn config(text: &str, dialect: Dialect) -> Config {
    Config::parse("/f".as_ref(), text.into(), &Root::new("/nowhere".as_ref()), dialect)
}

/// Each uplink in one line.
fn lines(found: &Found) -> Vec<String> {
    let line = |uplink: &super::Uplink| {
        let gateway = uplink.gateway.map_or("-".into(), |gateway| gateway.to_string());
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
            line += &source.elsewhere.as_ref().map_or(String::new(), |elsewhere| format!("@{elsewhere}"));
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
        family: if inet6 { Family::Inet6 } else { Family::Inet },
        table,
        dst: if inet6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap(),
        gateway,
        dev: Some(dev.to_string()),
        scope: 0,
        metric,
        onlink: false,
        protocol: if table == MAIN { 3 } else { PROTOCOL },
        more: None,
        state: State::default(),
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
        more: None,
    }
}

fn held(text: &str, snapshot: &Snapshot, going: &[&str]) -> Found {
    find(&config(text, Dialect::Ifupdown), Some(snapshot), going, &Names::default())
}

const TWO: &str = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                   iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n metric 20\n";
const TWO_ADDRESSES: [&str; 2] = ["eth0 192.0.2.10/24", "eth1 198.51.100.10/24"];

#[test]
fn methods_whose_gateway_makes_a_default_route() {
    let stanza = |family_and_method: &str, options: &str| {
        format!("auto t1\niface t1 {family_and_method}\n{options}").replace(';', "\n")
    };
    for (method, options, expected) in [
        (
            "inet6 v4tunnel",
            " address 2001:db8:b::2/64; gateway 2001:db8:b::1",
            "t1 inet6 on t1 via 2001:db8:b::1 2001:db8:b::2/64",
        ),
        (
            "inet6 tunnel",
            " address 2001:db8:b::2; netmask 64; gateway 2001:db8:b::1",
            "t1 inet6 on t1 via 2001:db8:b::1 2001:db8:b::2/64",
        ),
        (
            "inet tunnel",
            " address 192.0.2.2; dstaddr 192.0.2.1; netmask 24; gateway 192.0.2.1",
            "t1 inet on t1 via 192.0.2.1 192.0.2.2/24",
        ),
        // ifup runs 'ip -4 route add 0.0.0.0/0': no address of the stanza goes that way.
        ("inet6 tunnel", " mode ipip6; address 2001:db8:b::2; netmask 64; gateway 192.0.2.1", ""),
        ("inet6 6to4", " local 192.0.2.2; gateway 2001:db8:b::1", ""),
        ("inet manual", " address 192.0.2.2/24; gateway 192.0.2.1", ""),
        ("inet6 manual", " address 2001:db8:b::2/64; gateway 2001:db8:b::1", ""),
        ("inet ppp", " provider dsl", "t1 inet on t1 via - skipped"),
    ] {
        assert_eq!(by_files(&stanza(method, options)).join("\n"), expected, "{method}{options}");
    }
    // The others look at the options alone.
    let manual = stanza("inet manual", " address 192.0.2.2/24; gateway 192.0.2.1");
    for dialect in [Dialect::IfupdownNg, Dialect::Ifupdown2] {
        assert_eq!(by_files_in(&manual, dialect), ["t1 inet on t1 via 192.0.2.1 192.0.2.2/24"]);
    }
}

#[test]
fn lines_that_add_a_default_route() {
    let eth0 = "auto eth0 eth1 eth2\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                iface eth1 inet static\n address 198.51.100.10/24\n";
    let first = "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24";
    let second = |rest: &str| format!("eth1 inet on eth1 via 198.51.100.1{rest} by line 198.51.100.10/24");
    for (line, expected) in [
        ("ip route add default via 198.51.100.1 dev eth1 metric 100", second(" metric 100")),
        ("ip route replace default via 198.51.100.1", second(" metric 0")),
        ("ip route append 0.0.0.0/0 via 198.51.100.1 dev $IFACE table main || true", second(" metric 0")),
        ("route add default gw 198.51.100.1 metric 5", second(" metric 5")),
        ("route add -net default gw 198.51.100.1 eth1", second(" metric 0")),
        ("ip -6 route add default via fe80::1 dev eth1", "eth1 inet6 on eth1 via fe80::1 metric 1024 by line".into()),
        ("route -A inet6 add default gw fe80::1 dev eth1", "eth1 inet6 on eth1 via fe80::1 metric 1 by line".into()),
        // A second router of a network is no second uplink; nor is a table that is not main.
        ("ip route add default via 192.0.2.2 dev eth0 metric 7", String::new()),
        ("ip route add default via 198.51.100.1 table 7", String::new()),
        ("ip route add default nexthop via 198.51.100.1 nexthop via 192.0.2.1", String::new()),
        ("ip route add default dev eth1", String::new()),
        ("ip route del default via 198.51.100.1", String::new()),
        ("ip route add unreachable default metric 100", String::new()),
    ] {
        let mut expected = vec![expected];
        expected.retain(|line| !line.is_empty());
        expected.insert(0, first.into());
        assert_eq!(by_files(&format!("{eth0} post-up {line}\n")), expected, "{line}");
        // In the stanza of another interface, it is still about its own.
        let elsewhere = format!("{eth0}iface eth2 inet manual\n up {line}\n");
        if line.contains("dev eth1") || line.contains("gw 198.51.100.1 eth1") {
            assert_eq!(by_files(&elsewhere), expected, "{line}");
        }
    }
    // The article's gateway is in main as well then.
    let both = format!("{eth0} symroute-gateway 198.51.100.1\n up ip route add default via 198.51.100.1 metric 9\n");
    assert_eq!(by_files(&both), [first.to_string(), second(" metric 9")]);
    let down = format!("{eth0} down ip route add default via 198.51.100.1\n");
    assert_eq!(by_files(&down), [first]);
    let other = TWO.to_string()
        + " up ip route add default via 203.0.113.1 dev eth1 metric 9\n\
                iface eth1 inet static\n address 203.0.113.10/26\n";
    assert_eq!(
        by_files(&other),
        [
            first,
            "eth1 inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24",
            "eth1 inet on eth1 via 203.0.113.1 metric 9 by line 203.0.113.10/26"
        ]
    );
}

#[test]
fn default_routes_of_main_make_uplinks() {
    let text = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                iface eth1 inet static\n address 198.51.100.10/24\n";
    let eth0 = "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = |rest: &str| format!("eth1 inet on eth1 via {rest} by main 198.51.100.10/24");
    let of_main = default(MAIN, "192.0.2.1", "eth0", 0);
    let with = |routes: &[Route]| kernel(&TWO_ADDRESSES, routes.to_vec());
    let by_script = with(&[of_main.clone(), default(MAIN, "198.51.100.1", "eth1", 100)]);
    assert_eq!(lines(&held(text, &by_script, &[])), [eth0.to_string(), eth1("198.51.100.1 metric 100")]);
    // The plan of the files, whatever is up, has it as well.
    let planned = intended(&config(text, Dialect::Ifupdown), Some(&by_script), &Names::default());
    assert_eq!(lines(&planned), [eth0.to_string(), eth1("198.51.100.1 metric 100")]);
    assert_eq!(by_files(text), [eth0]);
    // Nexthops count one by one.
    let nexthop = |gateway: &str, dev: &str| Nexthop {
        gateway: gateway.parse().ok(),
        dev: Some(dev.into()),
        weight: 1,
        onlink: false,
        state: State::default(),
    };
    let nexthops = vec![nexthop("192.0.2.1", "eth0"), nexthop("198.51.100.2", "eth1")];
    let more = Some(Box::new(RouteMore { nexthops, ..RouteMore::default() }));
    let multipath = with(&[Route { gateway: None, dev: None, more, ..of_main.clone() }]);
    assert_eq!(lines(&held(text, &multipath, &[])), [eth0.to_string(), eth1("198.51.100.2 metric 0")]);
    // It goes when its address goes, not when main's default route does.
    let mut own_table = with(&[of_main.clone(), default(7, "198.51.100.1", "eth1", 0)]);
    assert_eq!(lines(&held(text, &own_table, &[])), [eth0], "left from an older plan: no rule looks it up");
    own_table.rules = vec![rule("198.51.100.10/32", 7)];
    assert_eq!(lines(&held(text, &own_table, &[])), [eth0.to_string(), eth1("198.51.100.1")]);
    let without = Snapshot { addresses: own_table.addresses[..1].to_vec(), ..own_table.clone() };
    assert_eq!(lines(&held(text, &without, &[])), [eth0]);
    // An interface of no stanza: nobody's, and named.
    let unknown = with(&[of_main.clone(), default(MAIN, "203.0.113.1", "eth3", 9), default(MAIN, "", "tun0", 8)]);
    let found = held(text, &unknown, &[]);
    assert_eq!(lines(&found), [eth0]);
    assert_eq!(found.unknown_defaults, unknown.routes[1..].iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(held("", &unknown, &[]).unknown_defaults, [], "no business of symroute's");
}

#[test]
fn a_static_address_with_a_router_by_advertisement() {
    let text = "auto eth0 eth1\niface eth0 inet6 static\n address 2001:db8:a::10/64\n accept_ra 2\n\
                iface eth1 inet6 auto\n";
    let addresses =
        ["eth0 2001:db8:a::10/64", "eth0 2001:db8:a::aa/64", "eth1 2001:db8:b::bb/64", "lo 2001:db8:b::53/128"];
    let snapshot =
        kernel(&addresses, vec![default(MAIN, "fe80::a", "eth0", 1024), default(MAIN, "fe80::b", "eth1", 1024)]);
    assert_eq!(
        lines(&held(text, &snapshot, &[])),
        [
            "eth1 inet6 on eth1 via fe80::b prefix 2001:db8:b::bb/64 2001:db8:b::53/128@lo",
            "eth0 inet6 on eth0 via fe80::a metric 1024 by main 2001:db8:a::10/64 prefix 2001:db8:a::aa/64",
        ]
    );
}

#[test]
fn the_gateway_of_a_lease() {
    let text =
        "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\niface eth1 inet dhcp\n";
    let second = |routes: Vec<Route>| lines(&held(text, &kernel(&TWO_ADDRESSES, routes), &[]))[1].clone();
    let old = default(2, "198.51.100.1", "eth1", 0);
    let of_main = default(MAIN, "198.51.100.2", "eth1", 1002);
    assert_eq!(
        second(vec![old.clone(), of_main]),
        "eth1 inet on eth1 via 198.51.100.2 198.51.100.10/24",
        "main's first"
    );
    assert_eq!(second(vec![old.clone()]), "eth1 inet on eth1 via 198.51.100.1 198.51.100.10/24", "the last known");
    assert_eq!(
        second(vec![Route { protocol: 3, ..old }]),
        "eth1 inet on eth1 via - 198.51.100.10/24 down",
        "somebody else's"
    );
}

#[test]
fn an_address_belongs_to_the_uplink_whose_network_it_is_in() {
    let with = |more: &[&str]| {
        let addresses: Vec<&str> = TWO_ADDRESSES.iter().chain(more).copied().collect();
        lines(&held(TWO, &kernel(&addresses, Vec::new()), &[]))
    };
    let eth0 = "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = "eth1 inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    for (address, first, second) in [
        ("eth1 192.0.2.60/32", " 192.0.2.60/32@eth1", ""),
        ("eth1 192.0.2.60/24", " 192.0.2.60/24@eth1", ""),
        ("lo 198.51.100.60/32", "", " 198.51.100.60/32@lo"),
        ("tun0 198.51.100.60/32", "", " 198.51.100.60/32@tun0"),
        // Its own network, smaller than the provider's.
        ("eth2 198.51.100.65/28", "", ""),
        // On the uplink's own interface, that counts.
        ("eth1 198.51.100.65/28", "", " 198.51.100.65/28"),
        ("eth1 203.0.113.9/32", "", " 203.0.113.9/32"),
        ("eth2 203.0.113.9/32", "", ""),
        ("lo 198.51.100.10/32", "", ""),
    ] {
        assert_eq!(with(&[address]), [format!("{eth0}{first}"), format!("{eth1}{second}")], "{address}");
    }
    // The interface that has it goes, and the address with it.
    let snapshot = kernel(&[&TWO_ADDRESSES[..], &["eth2 192.0.2.60/32", "lo 192.0.2.61/32"]].concat(), Vec::new());
    let still = format!("{eth0} 192.0.2.61/32@lo");
    assert_eq!(lines(&held(TWO, &snapshot, &["eth2"])), [&still, eth1]);
    // With nothing left but that, the uplink is gone.
    let snapshot = kernel(&["lo 192.0.2.61/32", "eth1 198.51.100.10/24"], Vec::new());
    assert_eq!(
        lines(&held(TWO, &snapshot, &[]))[0],
        "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.61/32@lo down"
    );
    // The files tell the same, an alias and a smaller network included.
    let more = "iface eth1:1 inet static\n address 192.0.2.60/32\niface eth2 inet static\n address 192.0.2.65/28\n";
    assert_eq!(
        by_files(&format!("{TWO}auto eth1:1 eth2\n{more}")),
        [format!("{eth0} 192.0.2.60/32@eth1"), eth1.into()]
    );
}

#[test]
fn two_interfaces_on_one_network_keep_what_is_theirs() {
    let text = TWO
        .replace("198.51.100.", "192.0.2.")
        .replace("192.0.2.10/24\n gateway 192.0.2.1\n metric", "192.0.2.11/24\n gateway 192.0.2.1\n metric");
    let addresses = ["eth0 192.0.2.10/24", "eth1 192.0.2.11/24", "eth1 192.0.2.12/32", "lo 192.0.2.60/32"];
    assert_eq!(
        lines(&held(&text, &kernel(&addresses, Vec::new()), &[])),
        [
            "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.60/32@lo",
            "eth1 inet on eth1 via 192.0.2.1 metric 20 192.0.2.11/24 192.0.2.12/32",
        ]
    );
}

#[test]
fn alternative_names() {
    let text = TWO
        .replace("eth0", "enp3s0")
        .replace("iface eth1", "iface enx001122334455")
        .replace(" eth1\n", " enx001122334455\n");
    let mut snapshot = kernel(&[&TWO_ADDRESSES[..], &["eth0 192.0.2.11/32"]].concat(), Vec::new());
    snapshot.links[1].altnames = vec!["ens3".into(), "enp3s0".into()];
    snapshot.links[2].altnames = vec!["enx001122334455".into()];
    let enp3s0 = "enp3s0 inet on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.11/32";
    let enx = "enx001122334455 inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    let found = held(&text, &snapshot, &[]);
    assert_eq!(lines(&found), [enp3s0, enx]);
    assert!(found.uplinks[0].is_on("enp3s0:1") && found.uplinks[0].is_on("eth0") && !found.uplinks[0].is_on("eth1"));
    for going in ["enx001122334455", "eth1"] {
        assert_eq!(lines(&held(&text, &snapshot, &[going])), [enp3s0.to_string(), format!("{enx} down")]);
    }
    // A name comes before an altname.
    snapshot.links[3].altnames = vec!["eth1".into()];
    assert_eq!(lines(&held(TWO, &snapshot, &[]))[1], "eth1 inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24");
}

#[test]
fn members_of_a_vrf_are_named_and_skipped() {
    let more = ["lo 198.51.100.60/32", "eth3 192.0.2.60/32"];
    let mut snapshot = kernel(&[&TWO_ADDRESSES[..], &more].concat(), Vec::new());
    snapshot.links[2].vrf = true;
    snapshot.links[4].vrf = true;
    let eth0 = "eth0 inet on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = "eth1 inet on eth1 via 198.51.100.1 metric 20 skipped 198.51.100.10/24";
    assert_eq!(lines(&held(TWO, &snapshot, &[])), [eth0.to_string(), format!("{eth1} down")]);
    let planned = crate::policy::plan(held(TWO, &snapshot, &[]), Some(&snapshot), &Names::default(), None);
    assert_eq!(planned.reason_without(1), Some("skipped: its interface belongs to a VRF, which has its own tables"));
    assert_eq!(planned.policies, [], "one uplink of main is left");
}

#[test]
fn numbers_of_main_s_uplinks_come_after_those_of_the_files() {
    let text = TWO.to_string() + "auto eth2\niface eth2 inet static\n address 203.0.113.10/26\n";
    let addresses = [&TWO_ADDRESSES[..], &["eth2 203.0.113.10/26"]].concat();
    let routes = vec![default(MAIN, "203.0.113.1", "eth2", 5)];
    let tables = |text: &str, routes: Vec<Route>| -> Vec<String> {
        let snapshot = kernel(&addresses, routes);
        let plan = crate::policy::plan(held(text, &snapshot, &[]), Some(&snapshot), &Names::default(), None);
        let number =
            |policy: &crate::policy::Policy| format!("{} {}", plan.uplinks[policy.uplink].label(), policy.table);
        plan.policies.iter().map(number).collect()
    };
    assert_eq!(tables(&text, routes.clone()), ["eth0 inet 1", "eth1 inet 2", "eth2 inet 3"]);
    // What it has, it keeps, though the files have one more.
    let kept = [routes, vec![default(2, "203.0.113.1", "eth2", 0)]].concat();
    assert_eq!(tables(&text, kept), ["eth0 inet 1", "eth1 inet 3", "eth2 inet 2"]);
}

/// As `held`, with what ifup has noted.
fn held_as(text: &str, up_as: &[(&str, &str)], snapshot: &Snapshot, going: &[&str]) -> Found {
    let mut config = config(text, Dialect::Ifupdown);
    config.up_as = up_as.iter().map(|(link, stanza)| ((*link).into(), (*stanza).into())).collect();
    find(&config, Some(snapshot), going, &Names::default())
}

const UP: [(&str, &str); 3] = [("lo", "lo"), ("eth0", "eth0"), ("eth1", "eth1")];

#[test]
fn what_is_noted_of_a_second_link_takes_nothing_away() {
    let both = lines(&held(TWO, &kernel(&TWO_ADDRESSES, Vec::new()), &[]));
    let eth1 = "inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    let other = |noted: &[(&str, &str)], going: &[&str]| {
        let found = held_as(TWO, &[&UP[..], noted].concat(), &kernel(&TWO_ADDRESSES, Vec::new()), going);
        lines(&found)
    };
    // No such link; a link that never got the address; one that goes again.
    for link in ["usb0", "nosuch", "eth2"] {
        assert_eq!(other(&[(link, "eth1")], &[]), both, "{link}");
        assert_eq!(other(&[(link, "eth1")], &[link]), both, "{link}");
    }
    // Its own link is not noted.
    let alone = held_as(TWO, &[UP[1], ("eth2", "eth1")], &kernel(&TWO_ADDRESSES, Vec::new()), &[]);
    assert_eq!(lines(&alone), both);
    // Both have it, and either goes alone.
    let two = kernel(&[&TWO_ADDRESSES[..], &["eth2 198.51.100.10/24"]].concat(), Vec::new());
    let second = "eth2=eth1 inet on eth2 via 198.51.100.1 metric 20 198.51.100.10/24";
    let noted = [&UP[..], &[("eth2", "eth1")]].concat();
    let up = |going: &[&str]| {
        let found = held_as(TWO, &noted, &two, going);
        lines(&found).into_iter().filter(|line| !line.ends_with("down")).collect::<Vec<_>>()
    };
    assert_eq!(up(&[]), [both[0].clone(), format!("eth1 {eth1}"), second.into()]);
    assert_eq!(up(&["eth2"]), [both[0].clone(), format!("eth1 {eth1}")]);
    assert_eq!(up(&["eth1"]), [both[0].clone(), second.into()]);
    // A stanza that is listed for one link, and up on another.
    let logical = TWO.replace("auto eth0 eth1", "auto eth0 eth1=b").replace("iface eth1", "iface b");
    let noted = [UP[1], ("eth1", "b"), ("usb0", "b")];
    let found = held_as(&logical, &noted, &kernel(&TWO_ADDRESSES, Vec::new()), &[]);
    assert_eq!(lines(&found), [both[0].clone(), format!("eth1=b {eth1}")]);
}

#[test]
fn an_alias_takes_its_own_address_along() {
    let text = |alias: &str, stanza: &str| {
        format!("{TWO}auto {alias}\niface {stanza} inet static\n address 198.51.100.11/24\n")
    };
    let snapshot = kernel(&[&TWO_ADDRESSES[..], &["eth1 198.51.100.11/24"]].concat(), Vec::new());
    let eth1 = "eth1 inet on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    for (auto, noted) in [("eth1:1=extra", ("eth1:1", "extra")), ("eth1:1", ("eth1:1", "eth1:1"))] {
        let text = text(auto, noted.1);
        let up_as = [&UP[..], &[noted]].concat();
        let second =
            |up_as: &[(&str, &str)], going: &[&str]| lines(&held_as(&text, up_as, &snapshot, going))[1].clone();
        for up_as in [&up_as[..], &UP] {
            assert_eq!(second(up_as, &[]), format!("{eth1} 198.51.100.11/24"));
            assert_eq!(second(up_as, &["eth1:1"]), eth1);
            assert_eq!(second(up_as, &["eth0:1"]), format!("{eth1} 198.51.100.11/24"), "another one");
            assert_eq!(second(up_as, &["eth1"]), format!("{eth1} 198.51.100.11/24 down"));
        }
    }
    // No list has it, and ifup does not note it any more: the hook alone is told.
    let unlisted = text("eth1", "extra").replace("auto eth1\niface extra", "iface extra");
    let second = |going: &[&str]| lines(&held_as(&unlisted, &UP, &snapshot, going))[1].clone();
    assert_eq!(second(&["eth1:1=extra"]), eth1);
    assert_eq!(second(&["eth1=eth1"]), format!("{eth1} 198.51.100.11/24 down"));
    // An uplink of its own.
    let text = text("eth1:1=extra", "extra") + " gateway 198.51.100.2\n";
    let alone = lines(&held_as(&text, &UP, &snapshot, &["eth1:1"]));
    assert_eq!(alone[1], eth1);
    assert!(alone[2].starts_with("eth1:1=extra ") && alone[2].ends_with(" down"), "{alone:?}");
}

#[test]
fn a_renamed_link_is_kept_while_it_carries_the_address() {
    let mut snapshot = kernel(&["eth0 192.0.2.10/24", "wan1 198.51.100.10/24"], Vec::new());
    snapshot.links[2].name = "wan1".into();
    let wan1 = "eth1 inet on wan1 via 198.51.100.1 metric 20 198.51.100.10/24";
    for up_as in [&UP[..], &[]] {
        assert_eq!(lines(&held_as(TWO, up_as, &snapshot, &[]))[1], wan1);
        assert_eq!(lines(&held_as(TWO, up_as, &snapshot, &["eth1"]))[1], format!("{wan1} down"));
    }
    // A lease: the rule for sockets bound to the old name leads to the link.
    let leased = TWO.replace("static\n address 198.51.100.10/24\n gateway 198.51.100.1", "dhcp");
    assert!(lines(&held_as(&leased, &UP, &snapshot, &[]))[1].ends_with("down"));
    snapshot.routes = vec![default(2, "198.51.100.1", "wan1", 0)];
    snapshot.rules = vec![Rule { oif: Some("eth1".into()), src: None, ..rule("", 2) }];
    assert_eq!(lines(&held_as(&leased, &UP, &snapshot, &[]))[1], wan1);
    // The name of a mapping's choice is no name of a link.
    let chosen = TWO.replace("eth1", "home").replace("auto eth0 home", "auto eth0 wan1\nmapping wan1\n script /bin/x");
    assert_eq!(lines(&held_as(&chosen, &UP[..2], &snapshot, &[])).len(), 1);
    // The interface of another stanza has the address: nobody renamed anything.
    let moved = kernel(&["eth0 192.0.2.10/24", "eth2 198.51.100.10/24"], Vec::new());
    let gone = Snapshot { links: moved.links.iter().filter(|link| link.name != "eth1").cloned().collect(), ..moved };
    let text = format!("{TWO}auto eth2\niface eth2 inet manual\n");
    assert!(lines(&held_as(&text, &UP, &gone, &[]))[1].ends_with("down"));
}

/// Nothing of an uplink goes while its address is there, though its gateway is not known any more.
#[test]
fn what_an_uplink_has_stays_while_it_waits_for_its_gateway() {
    let text = TWO.replace("static\n address 198.51.100.10/24\n gateway 198.51.100.1", "dhcp");
    let with = |routes: Vec<Route>| {
        let rules = vec![rule("198.51.100.10/32", 2), Rule { oif: Some("eth1".into()), src: None, ..rule("", 2) }];
        Snapshot { rules, ..kernel(&TWO_ADDRESSES, routes) }
    };
    let removed = |snapshot: &Snapshot, going: &[&str]| {
        let found = held(&text, snapshot, going);
        let lacks = found.uplinks[1].lacks;
        let plan = crate::policy::plan(found, Some(snapshot), &Names::default(), None);
        let change = crate::policy::difference::difference(&plan, snapshot, &|_| false);
        (lacks, change.remove_rules.len(), change.remove_routes.len(), change.leave.len())
    };
    let own_network = Route { dst: "198.51.100.0/24".parse().unwrap(), gateway: None, ..default(2, "", "eth1", 0) };
    let mut waiting = with(vec![default(MAIN, "192.0.2.1", "eth0", 0), own_network]);
    waiting.links[2].group = 97;
    assert_eq!(removed(&waiting, &[]), (Some(Lack::Gateway), 0, 0, 0));
    assert_eq!(removed(&waiting, &["eth1"]), (Some(Lack::Stay), 2, 1, 1));
    let mut lost = waiting.clone();
    lost.addresses.truncate(1);
    assert_eq!(removed(&lost, &[]), (Some(Lack::Address), 2, 1, 1));
    lost.links[2].up = false;
    assert_eq!(removed(&lost, &[]), (Some(Lack::LinkUp), 2, 1, 1));
    lost.links.remove(2);
    assert_eq!(removed(&lost, &[]), (Some(Lack::Link), 2, 1, 0));
    // Another lease: the rule of the old address goes.
    let mut other = waiting.clone();
    other.addresses[1].net = "198.51.100.77/24".parse().unwrap();
    assert_eq!(removed(&other, &[]), (Some(Lack::Gateway), 1, 0, 0));
}

/// Each warning, whole.
fn said(text: &str) -> Vec<String> {
    let found = find(&config(text, Dialect::Ifupdown), None, &[], &Names::default());
    found.diagnostics.iter().map(|diagnostic| format!("{}: {}", diagnostic.message, diagnostic.help)).collect()
}

#[test]
fn manual_policy_routing_and_what_is_said_of_it() {
    let lines = " up ip rule add from 198.51.100.10 table 7 priority 70\n down ip rule del priority 70\n";
    let manual = said(&format!("{TWO}{lines}"));
    assert_eq!(manual.len(), 1, "{manual:?}");
    assert!(manual[0].contains("written here by hand") && manual[0].contains("silences this warning"), "{manual:?}");
    assert_eq!(said(&format!("{TWO} symroute no\n{lines}")), [""; 0]);
    // A block that lost a marker looks the same.
    for marker in ["begin", "end"] {
        let damaged = said(&format!("{TWO} # symroute: {marker}\n{lines}"));
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(!damaged[0].contains("by hand:") && damaged[0].contains("Restore the missing marker"), "{damaged:?}");
    }
    // In another stanza, it has nothing to do with it.
    let elsewhere = TWO.replace("iface eth1", " # symroute: begin\niface eth1");
    assert!(said(&format!("{elsewhere}{lines}"))[0].contains("written here by hand"));
}

#[test]
fn no_priority_is_proposed_that_is_in_use() {
    use crate::uplinks::handwritten::judge_beside;
    let text =
        format!("{TWO} up ip rule add from 198.51.100.10 table 7\n up ip route add default via 198.51.100.1 table 7\n");
    let config = config(&text, Dialect::Ifupdown);
    let proposed = |in_use: &[u32]| {
        let found = judge_beside(&config, &Names::default(), &in_use.iter().copied().collect());
        let help = found.iter().map(|diagnostic| diagnostic.help.clone()).find(|help| help.contains("priority"));
        help.unwrap_or_default().split("priority ").nth(1).unwrap_or_default()[..3].to_string()
    };
    assert_eq!(proposed(&[]), "100");
    assert_eq!(proposed(&[100, 110]), "120");
}

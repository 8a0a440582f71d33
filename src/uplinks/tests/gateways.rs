//! Gateways that the kernel has: default routes, leases, router advertisements, point-to-point links.

use super::*;

/// `default dev tun0`, whoever added it. A router that is reached by the other family is still a router.
#[test]
fn a_default_route_without_a_gateway_makes_an_uplink() {
    let text = format!("{TWO}auto tun0\niface tun0 inet manual\n");
    let found = |routes: Vec<Route>, text: &str| {
        let addresses = [&TWO_ADDRESSES[..], &["tun0 203.0.113.7/32"]].concat();
        lines(&find(&config(text, Dialect::Ifupdown), Some(&kernel(&addresses, routes)), &[], &Names::default()))
    };
    let on_tun0 = |routes| found(routes, &text).get(2).cloned();
    let by_main = |metric: u32| Some(format!("tun0 (IPv4) on tun0 via none metric {metric} by main 203.0.113.7/32"));
    assert_eq!(on_tun0(vec![]), None);
    assert_eq!(on_tun0(vec![default(MAIN, "", "tun0", 50)]), by_main(50));
    let other_family = Route { gateway: "fe80::1".parse().ok(), ..default(MAIN, "", "tun0", 50) };
    assert_eq!(on_tun0(vec![other_family]), None);
    let nexthop = |dev: &str| Nexthop {
        gateway: None,
        dev: Some(dev.into()),
        weight: 1,
        onlink: false,
        state: RouteState::default(),
    };
    let several = RouteExtras { nexthops: vec![nexthop("eth0"), nexthop("tun0")], ..RouteExtras::default() };
    let several = Route { dev: None, extras: Some(Box::new(several)), ..default(MAIN, "", "", 0) };
    assert_eq!(on_tun0(vec![several]), by_main(0));
    // A LAN with the default route of avahi-autoipd is no uplink; an Ethernet interface with a peer is.
    let ethernet = |peer: Option<&str>| {
        let mut kernel = kernel(&["tun0 203.0.113.7/24"], vec![default(MAIN, "", "tun0", 1000)]);
        kernel.links.iter_mut().for_each(|link| link.broadcast = true);
        kernel.addresses[0].peer = peer.map(|peer| peer.parse().unwrap());
        let found = find(&config(&text, Dialect::Ifupdown), Some(&kernel), &[], &Names::default());
        (found.uplinks.len(), found.unknown_defaults.len())
    };
    assert_eq!((ethernet(None), ethernet(Some("203.0.113.1"))), ((2, 1), (3, 0)));
    // That of wg-quick is in a table of its own.
    assert_eq!(on_tun0(vec![Route { protocol: 3, ..default(51820, "", "tun0", 0) }]), None);
    // The uplink's own table still has it.
    let own = kernel(&["tun0 203.0.113.7/32"], vec![default(3, "", "tun0", 0)]);
    let own = Snapshot { rules: vec![rule("203.0.113.7/32", 3)], ..own };
    let found_own = lines(&find(&config(&text, Dialect::Ifupdown), Some(&own), &[], &Names::default()));
    assert_eq!(found_own[2], "tun0 (IPv4) on tun0 via none by main 203.0.113.7/32");
    // A DHCP client without a router adds none: the interface waits for its gateway.
    let dhcp = "auto eth3\niface eth3 inet dhcp\n";
    let waiting = find(
        &config(dhcp, Dialect::Ifupdown),
        Some(&kernel(&["eth3 203.0.113.9/24"], vec![default(MAIN, "", "eth3", 1000)])),
        &[],
        &Names::default(),
    );
    assert_eq!((waiting.uplinks[0].gateway, waiting.uplinks[0].up), (Gateway::Unknown, false));
}

/// pppd names its interface: by its files, by the stanza's name, or as the only one.
#[test]
fn interfaces_of_pppd() {
    let stanza = |name: &str| format!("auto {name}\niface {name} inet ppp\n provider isp\n");
    let found = |names: &[&str], of_files: &[(&str, &str)], links: &[&str]| {
        let text = names.iter().map(|name| stanza(name)).collect::<String>();
        let mut config = config(&format!("{TWO}{text}"), Dialect::Ifupdown);
        config.ppp = of_files.iter().map(|(stanza, interface)| ((*stanza).into(), interface.to_string())).collect();
        let mut kernel = kernel(&TWO_ADDRESSES, vec![]);
        for (at, name) in links.iter().enumerate() {
            kernel.links.push(Link { index: 90 + at as u32, name: name.to_string(), up: true, ..Link::default() });
            let net = format!("203.0.113.{at}/32").parse().unwrap();
            let peer = "203.0.113.99".parse().ok();
            kernel.addresses.push(Address { dev: name.to_string(), net, peer, local: false, duplicate: false });
        }
        let found = find(&config, Some(&kernel), &[], &Names::default());
        let warnings = found.diagnostics.iter().filter(|said| said.message.contains("pppd")).count();
        let text: Vec<String> = found
            .uplinks
            .iter()
            .filter(|uplink| uplink.interface.starts_with("ppp") || !uplink.interface.starts_with("eth"))
            .map(|uplink| format!("{}@{}{}", uplink.name, uplink.interface, if uplink.up { "" } else { " down" }))
            .collect();
        (text.join(" "), warnings)
    };
    let ppp = |text: &str, warnings: usize| (text.to_string(), warnings);
    assert_eq!(found(&["dsl"], &[], &[]), ppp("dsl@dsl down", 0));
    assert_eq!(found(&["dsl"], &[], &["ppp0"]), ppp("dsl@ppp0", 0));
    assert_eq!(found(&["dsl"], &[], &["ppp0", "ppp1"]), ppp("dsl@dsl down", 1));
    assert_eq!(found(&["dsl"], &[("dsl", "ppp1")], &["ppp0", "ppp1"]), ppp("dsl@ppp1", 0));
    assert_eq!(found(&["ppp1"], &[], &["ppp0", "ppp1"]), ppp("ppp1@ppp1", 0));
    assert_eq!(found(&["dsl"], &[], &["dsl", "ppp0"]), ppp("dsl@dsl", 0));
    assert_eq!(found(&["dsl", "umts"], &[], &["ppp0"]), ppp("dsl@dsl down umts@umts down", 2));
    let both = [("dsl", "ppp1"), ("umts", "ppp0")];
    assert_eq!(found(&["dsl", "umts"], &both, &["ppp0", "ppp1"]), ppp("dsl@ppp1 umts@ppp0", 0));
    // A name that is too long for an interface.
    assert_eq!(found(&["my-provider-at-home"], &[], &["ppp7"]), ppp("my-provider-at-home@ppp7", 0));
}

#[test]
fn default_routes_of_main_make_uplinks() {
    let text = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                iface eth1 inet static\n address 198.51.100.10/24\n";
    let eth0 = "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = |rest: &str| format!("eth1 (IPv4) on eth1 via {rest} by main 198.51.100.10/24");
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
        state: RouteState::default(),
    };
    let nexthops = vec![nexthop("192.0.2.1", "eth0"), nexthop("198.51.100.2", "eth1")];
    let extras = Some(Box::new(RouteExtras { nexthops, ..RouteExtras::default() }));
    let multipath = with(&[Route { gateway: None, dev: None, extras, ..of_main.clone() }]);
    assert_eq!(lines(&held(text, &multipath, &[])), [eth0.to_string(), eth1("198.51.100.2 metric 0")]);
    // It goes when its address goes, not when main's default route does.
    let mut own_table = with(&[of_main.clone(), default(7, "198.51.100.1", "eth1", 0)]);
    assert_eq!(lines(&held(text, &own_table, &[])), [eth0], "left from an older plan: no rule looks it up");
    own_table.rules = vec![rule("198.51.100.10/32", 7)];
    assert_eq!(lines(&held(text, &own_table, &[])), [eth0.to_string(), eth1("198.51.100.1")]);
    let without = Snapshot { addresses: own_table.addresses[..1].to_vec(), ..own_table.clone() };
    assert_eq!(lines(&held(text, &without, &[])), [eth0]);
    // An interface of no stanza belongs to no uplink, and is named.
    let unknown = with(&[of_main.clone(), default(MAIN, "203.0.113.1", "eth3", 9), default(MAIN, "", "tun0", 8)]);
    let found = held(text, &unknown, &[]);
    assert_eq!(lines(&found), [eth0]);
    assert_eq!(found.unknown_defaults, unknown.routes[1..].iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(held("", &unknown, &[]).unknown_defaults, [], "no business of symroute's");
    let lan = "iface eth2 inet static\n address 203.0.113.65/26\n";
    assert_eq!(held(lan, &unknown, &[]).unknown_defaults.len(), 3);
    assert_eq!(held(lan, &with(&[of_main]), &[]).unknown_defaults, [], "the only default route");
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
            "eth1 (IPv6) on eth1 via fe80::b prefix 2001:db8:b::bb/64 2001:db8:b::53/128@lo",
            "eth0 (IPv6) on eth0 via fe80::a metric 1024 by main 2001:db8:a::10/64 prefix 2001:db8:a::aa/64",
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
        "eth1 (IPv4) on eth1 via 198.51.100.2 198.51.100.10/24",
        "main's first"
    );
    assert_eq!(second(vec![old.clone()]), "eth1 (IPv4) on eth1 via 198.51.100.1 198.51.100.10/24", "the last known");
    assert_eq!(
        second(vec![Route { protocol: 3, ..old }]),
        "eth1 (IPv4) on eth1 via - 198.51.100.10/24 down",
        "a foreign route"
    );
}

/// A router that replies, then the smallest metric, then the preference.
#[test]
fn the_kernel_selects_the_router_of_a_link() {
    let text = "auto eth0 eth1\niface eth0 inet6 auto\niface eth1 inet6 auto\n";
    let addresses = ["eth0 2001:db8:a::10/64", "eth1 2001:db8:b::10/64"];
    let router = |gateway: &str, metric: u32, preference: u8| Route {
        extras: (preference != 0).then(|| Box::new(RouteExtras { preference, ..RouteExtras::default() })),
        ..default(MAIN, gateway, "eth1", metric)
    };
    let (medium, other) = (router("fe80::1", 1024, 0), router("fe80::2", 1024, 0));
    let (low, high) = (router("fe80::3", 1024, 3), router("fe80::4", 1024, 1));
    let present = |gateway: &str| default(2, gateway, "eth1", 1024);
    let gateway = |routes: &[&Route], failed: &[&str]| {
        let failed = failed.iter().map(|gateway| ("eth1".to_string(), gateway.parse().unwrap())).collect();
        let routes = routes.iter().map(|route| (*route).clone()).collect();
        let snapshot = Snapshot { failed, ..kernel(&addresses, routes) };
        held(text, &snapshot, &[]).uplinks[1].gateway.address().unwrap().to_string()
    };
    assert_eq!(gateway(&[&low, &medium, &high], &[]), "fe80::4");
    assert_eq!(gateway(&[&low, &medium], &[]), "fe80::1");
    assert_eq!(gateway(&[&high, &router("fe80::5", 512, 3)], &[]), "fe80::5");
    // Two of the same kind: the first, or the present one.
    assert_eq!(gateway(&[&medium, &other], &[]), "fe80::1");
    assert_eq!(gateway(&[&medium, &other, &present("fe80::2")], &[]), "fe80::2");
    assert_eq!(gateway(&[&medium, &high, &present("fe80::1")], &[]), "fe80::4");
    // One that does not reply; and none that does.
    assert_eq!(gateway(&[&medium, &other, &present("fe80::1")], &["fe80::1"]), "fe80::2");
    assert_eq!(gateway(&[&high, &low], &["fe80::4"]), "fe80::3");
    assert_eq!(gateway(&[&medium, &other, &present("fe80::2")], &["fe80::1", "fe80::2"]), "fe80::2");
    // The same address on another link is another router.
    let elsewhere = Snapshot {
        failed: vec![("eth0".to_string(), "fe80::1".parse().unwrap())],
        ..kernel(&addresses, vec![medium.clone(), other.clone()])
    };
    assert_eq!(held(text, &elsewhere, &[]).uplinks[1].gateway.address().unwrap().to_string(), "fe80::1");
}

/// dhcpcd adds a default route through every router of its lease.
#[test]
fn a_gateway_is_the_address_of_a_host() {
    let text =
        "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\niface eth1 inet dhcp\n";
    for router in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"] {
        let snapshot = kernel(&TWO_ADDRESSES, vec![default(MAIN, router, "eth1", 1003)]);
        let found = held(text, &snapshot, &[]);
        assert_eq!(
            (found.uplinks[1].gateway, found.uplinks[1].missing),
            (Gateway::Unknown, Some(Missing::Gateway)),
            "{router}"
        );
    }
}

/// dhclient keeps its default route if a lease has another router. The gateway is that of the lease, in later runs too.
#[test]
fn a_lease_overrides_a_default_route_of_dhclient() {
    let text =
        "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\niface eth1 inet dhcp\n";
    let second = |snapshot: &Snapshot| {
        let uplink = held(text, snapshot, &[]).uplinks.remove(1);
        (uplink.gateway.address().unwrap().to_string(), uplink.lease)
    };
    let address: IpAddr = [198, 51, 100, 10].into();
    let lease = |router: u8| Lease {
        interface: "eth1".into(),
        address,
        router: [198, 51, 100, router].into(),
        is_remembered: false,
    };
    let of_main = default(MAIN, "198.51.100.1", "eth1", 20);
    let by_dhcpcd = Route { protocol: 16, ..of_main.clone() };
    let own = |router: &str| Route {
        extras: Some(Box::new(RouteExtras { prefsrc: Some(address), ..RouteExtras::default() })),
        ..default(2, router, "eth1", 0)
    };
    let with = |routes: &[&Route], leases: Vec<Lease>| Snapshot {
        leases,
        ..kernel(&TWO_ADDRESSES, routes.iter().map(|route| (*route).clone()).collect())
    };
    let main = ("198.51.100.1".to_string(), None);
    let of_lease = ("198.51.100.2".to_string(), Some(address));
    assert_eq!(second(&with(&[&of_main], vec![lease(2)])), of_lease);
    assert_eq!(second(&with(&[&of_main, &own("198.51.100.2")], vec![])), of_lease, "a later run");
    assert_eq!(second(&with(&[&of_main, &own("198.51.100.2")], vec![lease(1)])), main, "the next lease");
    assert_eq!(second(&with(&[&of_main], vec![lease(1)])), main);
    let fixed = ("198.51.100.1".to_string(), Some(address));
    assert_eq!(second(&with(&[&of_main, &own("198.51.100.1")], vec![])), fixed, "main has it by now: no change");
    assert_eq!(second(&with(&[], vec![lease(2)])), ("198.51.100.2".to_string(), None), "main has none");
    assert_eq!(second(&with(&[&by_dhcpcd], vec![lease(2)])), main, "a client that changes its route");
    assert_eq!(second(&with(&[&by_dhcpcd, &own("198.51.100.2")], vec![])), main);
    // A remembered lease counts where the kernel has no gateway, and as long as the address is there.
    let remembered = |router: u8| Lease { is_remembered: true, ..lease(router) };
    assert_eq!(second(&with(&[], vec![remembered(2)])), ("198.51.100.2".to_string(), None));
    assert_eq!(second(&with(&[&of_main], vec![remembered(2)])), main);
    assert_eq!(second(&with(&[&own("198.51.100.1")], vec![remembered(2)])).0, "198.51.100.1");
    let mut expired = with(&[], vec![remembered(2)]);
    expired.addresses[1].net = "198.51.100.77/24".parse().unwrap();
    assert_eq!(held(text, &expired, &[]).uplinks[1].gateway, Gateway::Unknown);
    // The address of that lease is gone.
    let mut other = with(&[&of_main, &own("198.51.100.2")], vec![lease(2)]);
    other.addresses[1].net = "198.51.100.77/24".parse().unwrap();
    assert_eq!(second(&other), main);
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
    assert_eq!(tables(&text, routes.clone()), ["eth0 (IPv4) 1", "eth1 (IPv4) 2", "eth2 (IPv4) 3"]);
    // What it has, it keeps, though the files have one more.
    let kept = [routes, vec![default(2, "203.0.113.1", "eth2", 0)]].concat();
    assert_eq!(tables(&text, kept), ["eth0 (IPv4) 1", "eth1 (IPv4) 3", "eth2 (IPv4) 2"]);
}

/// Nothing of an uplink goes while its address is there, though its gateway is not known any more.
#[test]
fn what_an_uplink_has_stays_while_it_waits_for_its_gateway() {
    let text = TWO.replace("static\n address 198.51.100.10/24\n gateway 198.51.100.1", "dhcp");
    let with = |routes: Vec<Route>| {
        let rules = vec![rule("198.51.100.10/32", 2), Rule { oif: Some("eth1".into()), src: None, ..rule("", 2) }];
        Snapshot { rules, ..kernel(&TWO_ADDRESSES, routes) }
    };
    let removed = |snapshot: &Snapshot, leaving: &[&str]| {
        let found = held(&text, snapshot, leaving);
        let missing = found.uplinks[1].missing;
        let plan = crate::policy::plan(found, Some(snapshot), &Names::default(), None);
        let change = crate::policy::difference::difference(&plan, snapshot, &|_| false);
        (missing, change.remove_rules.len(), change.remove_routes.len(), change.leave.len())
    };
    let own_network = Route { dst: "198.51.100.0/24".parse().unwrap(), gateway: None, ..default(2, "", "eth1", 0) };
    let mut waiting = with(vec![default(MAIN, "192.0.2.1", "eth0", 0), own_network]);
    waiting.links[2].group = 97;
    assert_eq!(removed(&waiting, &[]), (Some(Missing::Gateway), 0, 0, 0));
    assert_eq!(removed(&waiting, &["eth1"]), (Some(Missing::Stay), 2, 1, 1));
    let mut lost = waiting.clone();
    lost.addresses.truncate(1);
    assert_eq!(removed(&lost, &[]), (Some(Missing::Address), 2, 1, 1));
    lost.links[2].up = false;
    assert_eq!(removed(&lost, &[]), (Some(Missing::LinkUp), 2, 1, 1));
    lost.links.remove(2);
    assert_eq!(removed(&lost, &[]), (Some(Missing::Link), 2, 1, 0));
    // Another lease: the rule of the old address goes.
    let mut other = waiting.clone();
    other.addresses[1].net = "198.51.100.77/24".parse().unwrap();
    assert_eq!(removed(&other, &[]), (Some(Missing::Gateway), 1, 0, 0));
}

//! The uplinks that files alone describe.

use super::*;

/// ifupdown makes 'ip route add default via WORDS dev eth1 onlink' of it.
#[test]
fn a_gateway_with_more_words() {
    let found = |words: &str, dialect| {
        let text = format!("auto eth1\niface eth1 inet static\n address 192.0.2.10/24\n gateway {words}\n");
        let config = Config::parse("/f".as_ref(), text.into_bytes(), &Root::new("/nonexistent".as_ref()), dialect);
        let uplink = find(&config, None, &[], &Names::default()).uplinks.remove(0);
        (uplink.gateway.address().map(|gateway| gateway.to_string()), uplink.metric, uplink.is_faulty())
    };
    let gateway = || Some("192.0.2.1".to_string());
    let ifupdown = Dialect::Ifupdown;
    assert_eq!(found("192.0.2.1 metric 20", ifupdown), (gateway(), Some(20), false));
    assert_eq!(found("192.0.2.1  src 192.0.2.10 mtu 1400", ifupdown), (gateway(), None, false));
    for invalid in ["192.0.2.1 192.0.2.2", "192.0.2.1 metrik 20", "192.0.2.1; reboot", "192.0.2.1 metric"] {
        assert!(found(invalid, ifupdown).2, "{invalid}");
    }
    assert!(found("192.0.2.1 metric 20", Dialect::IfupdownNg).2);
}

/// A block of addresses that the provider routes to the uplink's address.
#[test]
fn a_routed_address_belongs_to_the_stanza_that_adds_it() {
    let [eth0, eth1] = [
        "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24",
        "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24",
    ];
    let found = |line: &str| by_files(&format!("{TWO} {line}\n"));
    for (line, source) in [
        ("up ip addr add 203.0.113.9/32 dev lo", " 203.0.113.9/32@lo"),
        ("up ip addr add 203.0.113.9/28 dev br0", " 203.0.113.9/28@br0"),
        // A LAN, and an address that belongs to no provider.
        ("up ip addr add 10.8.0.1/24 dev br0", ""),
        ("up ip addr add 100.64.0.1/32 dev lo", ""),
        ("down ip addr add 203.0.113.9/32 dev lo", ""),
    ] {
        assert_eq!(found(line), [eth0.to_string(), format!("{eth1}{source}")], "{line}");
    }
    // It is in the network of the other uplink.
    let other = found("up ip addr add 192.0.2.9/32 dev lo");
    assert_eq!(other, [format!("{eth0} 192.0.2.9/32@lo"), eth1.to_string()]);
    // The uplink of the interface has precedence.
    assert_eq!(found("up ip addr add 203.0.113.9/32 dev eth0")[0], format!("{eth0} 203.0.113.9/32"));
}

/// To ifupdown-ng, an alias is another interface.
#[test]
fn an_alias_has_its_own_metric() {
    let text = "auto eth0\niface eth0\n address 192.0.2.10/24\n gateway 192.0.2.1\nauto eth0:1\niface eth0:1\n \
                address 198.51.100.10/24\n gateway 198.51.100.1\n metric 20\n";
    let [eth0, alias] = ["eth0 (IPv4) on eth0 via 192.0.2.1", "eth0:1 (IPv4) on eth0 via 198.51.100.1 metric 20"];
    let of = |metric: &str| [format!("{eth0}{metric} 192.0.2.10/24"), format!("{alias} 198.51.100.10/24")];
    assert_eq!(by_files_in(text, Dialect::IfupdownNg), of(""));
    assert_eq!(by_files_in(text, Dialect::Ifupdown2), of(" metric 20"));
}

/// In these dialects a stanza may have both families.
#[test]
fn no_gateway_is_one_of_the_families_with_an_address() {
    let found = |stanza: &str| {
        by_files_in(&format!("auto t1\niface t1 {stanza}\n symroute-gateway none\n"), Dialect::IfupdownNg).join("; ")
    };
    let [inet, inet6] = ["t1 (IPv4) on t1 via none not in main", "t1 (IPv6) on t1 via none not in main"];
    let [address, address6] = [" 192.0.2.2/32", " 2001:db8::2/128"];
    assert_eq!(found("inet static\n address 192.0.2.2/32"), format!("{inet}{address}"));
    assert_eq!(found("inet6 static\n address 2001:db8::2/128"), format!("{inet6}{address6}"));
    let both = "\n address 192.0.2.2/32\n address 2001:db8::2/128";
    assert_eq!(found(both), format!("{inet}{address}; {inet6}{address6}"));
    assert_eq!(found("inet manual"), inet);
    assert_eq!(found(""), format!("{inet}; {inet6}"));
}

#[test]
fn methods_whose_gateway_makes_a_default_route() {
    let stanza = |family_and_method: &str, options: &str| {
        format!("auto t1\niface t1 {family_and_method}\n{options}").replace(';', "\n")
    };
    for (method, options, expected) in [
        (
            "inet6 v4tunnel",
            " address 2001:db8:b::2/64; gateway 2001:db8:b::1",
            "t1 (IPv6) on t1 via 2001:db8:b::1 2001:db8:b::2/64",
        ),
        (
            "inet6 tunnel",
            " address 2001:db8:b::2; netmask 64; gateway 2001:db8:b::1",
            "t1 (IPv6) on t1 via 2001:db8:b::1 2001:db8:b::2/64",
        ),
        (
            "inet tunnel",
            " address 192.0.2.2; dstaddr 192.0.2.1; netmask 24; gateway 192.0.2.1",
            "t1 (IPv4) on t1 via 192.0.2.1 192.0.2.2/24",
        ),
        // ifup runs 'ip -4 route add 0.0.0.0/0': no address of the stanza goes that way.
        ("inet6 tunnel", " mode ipip6; address 2001:db8:b::2; netmask 64; gateway 192.0.2.1", ""),
        ("inet6 6to4", " local 192.0.2.2; gateway 2001:db8:b::1", ""),
        ("inet manual", " address 192.0.2.2/24; gateway 192.0.2.1", ""),
        (
            "inet static",
            " address 192.0.2.2/32; symroute-gateway none",
            "t1 (IPv4) on t1 via none not in main 192.0.2.2/32",
        ),
        ("inet manual", " symroute-gateway none", "t1 (IPv4) on t1 via none not in main"),
        (
            "inet manual",
            " up ip addr add 192.0.2.2 peer 192.0.2.1 dev t1; symroute-gateway none",
            "t1 (IPv4) on t1 via none not in main 192.0.2.2/32",
        ),
        ("inet6 manual", " address 2001:db8:b::2/64; gateway 2001:db8:b::1", ""),
        ("inet ppp", " provider dsl", "t1 (IPv4) on t1 via none not in main"),
        ("inet wvdial", "", "t1 (IPv4) on t1 via none not in main"),
    ] {
        assert_eq!(by_files(&stanza(method, options)).join("\n"), expected, "{method}{options}");
    }
    // The others look at the options alone.
    let manual = stanza("inet manual", " address 192.0.2.2/24; gateway 192.0.2.1");
    for dialect in [Dialect::IfupdownNg, Dialect::Ifupdown2] {
        assert_eq!(by_files_in(&manual, dialect), ["t1 (IPv4) on t1 via 192.0.2.1 192.0.2.2/24"]);
    }
}

#[test]
fn lines_that_add_a_default_route() {
    let eth0 = "auto eth0 eth1 eth2\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                iface eth1 inet static\n address 198.51.100.10/24\n";
    let first = "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24";
    let second = |rest: &str| format!("eth1 (IPv4) on eth1 via 198.51.100.1{rest} by line 198.51.100.10/24");
    for (line, expected) in [
        ("ip route add default via 198.51.100.1 dev eth1 metric 100", second(" metric 100")),
        ("ip route replace default via 198.51.100.1", second(" metric 0")),
        ("ip route append 0.0.0.0/0 via 198.51.100.1 dev $IFACE table main || true", second(" metric 0")),
        ("route add default gw 198.51.100.1 metric 5", second(" metric 5")),
        ("route add -net default gw 198.51.100.1 eth1", second(" metric 0")),
        ("ip -6 route add default via fe80::1 dev eth1", "eth1 (IPv6) on eth1 via fe80::1 metric 1024 by line".into()),
        ("route -A inet6 add default gw fe80::1 dev eth1", "eth1 (IPv6) on eth1 via fe80::1 metric 1 by line".into()),
        // A second router of a network is no second uplink; nor is a table that is not main.
        ("ip route add default via 192.0.2.2 dev eth0 metric 7", String::new()),
        ("ip route add default via 198.51.100.1 table 7", String::new()),
        ("ip route add default nexthop via 198.51.100.1 nexthop via 192.0.2.1", String::new()),
        ("ip route add default dev eth1", "eth1 (IPv4) on eth1 via none metric 0 by line 198.51.100.10/24".into()),
        // The uplink has a gateway already.
        ("ip route add default dev eth0", String::new()),
        ("ip route del default via 198.51.100.1", String::new()),
        ("ip route add unreachable default metric 100", String::new()),
    ] {
        let mut expected = vec![expected];
        expected.retain(|line| !line.is_empty());
        expected.insert(0, first.into());
        assert_eq!(by_files(&format!("{eth0} post-up {line}\n")), expected, "{line}");
        // In the stanza of another interface, it is still about its own.
        let other_interface = format!("{eth0}iface eth2 inet manual\n up {line}\n");
        if line.contains("dev eth1") || line.contains("gw 198.51.100.1 eth1") {
            assert_eq!(by_files(&other_interface), expected, "{line}");
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
            "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24",
            "eth1 (IPv4) on eth1 via 203.0.113.1 metric 9 by line 203.0.113.10/26"
        ]
    );
}

#[test]
fn no_gateway_and_its_wrong_uses() {
    let said = |options: &str, broadcast: bool, address: &str| {
        let text = format!("auto tun0\niface tun0 inet manual\n{options}");
        let mut kernel = kernel(&[address], vec![]);
        kernel.links.iter_mut().for_each(|link| link.broadcast = broadcast);
        let found = find(&config(&text, Dialect::Ifupdown), Some(&kernel), &[], &Names::default());
        let faults = found.uplinks.iter().flat_map(|uplink| &uplink.faults);
        let said: Vec<String> = found.diagnostics.iter().chain(faults).map(|said| said.message.clone()).collect();
        said.join("; ")
    };
    let none = " symroute-gateway none\n";
    assert_eq!(said(none, false, "tun0 192.0.2.10/24"), "");
    assert_eq!(said(none, true, "tun0 192.0.2.10/32"), "");
    assert!(said(none, true, "tun0 192.0.2.10/24").contains("resolves every destination by ARP"));
    assert!(said(" symroute-gateway None\n", false, "tun0 192.0.2.10/24").contains("invalid gateway address"));
    assert!(said(" symroute-gateway none\n symroute-gateway none\n", false, "tun0 192.0.2.10/24").contains("two"));
    let both =
        "auto eth0\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n symroute-gateway none\n";
    let found = find(&config(both, Dialect::Ifupdown), None, &[], &Names::default());
    let expected = "two gateways in one stanza: 'gateway 192.0.2.1' and 'symroute-gateway none'";
    assert_eq!(found.uplinks[0].faults[0].message, expected);
    let wrong = both.replace("gateway 192.0.2.1\n symroute-gateway none", "gateway none");
    let found = find(&config(&wrong, Dialect::Ifupdown), None, &[], &Names::default());
    assert_eq!(found.uplinks[0].faults[0].message, "invalid gateway address 'none'");
}

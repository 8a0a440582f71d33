//! Interfaces and addresses: owners, alternative names, VRFs, aliases, new names.

use super::*;

#[test]
fn an_address_belongs_to_the_uplink_whose_network_it_is_in() {
    let with = |more: &[&str]| {
        let addresses: Vec<&str> = TWO_ADDRESSES.iter().chain(more).copied().collect();
        lines(&held(TWO, &kernel(&addresses, Vec::new()), &[]))
    };
    let eth0 = "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
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
        "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.61/32@lo down"
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
            "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.60/32@lo",
            "eth1 (IPv4) on eth1 via 192.0.2.1 metric 20 192.0.2.11/24 192.0.2.12/32",
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
    let enp3s0 = "enp3s0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24 192.0.2.11/32";
    let enx = "enx001122334455 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    let found = held(&text, &snapshot, &[]);
    assert_eq!(lines(&found), [enp3s0, enx]);
    assert!(found.uplinks[0].is_on("enp3s0:1") && found.uplinks[0].is_on("eth0") && !found.uplinks[0].is_on("eth1"));
    for leaving in ["enx001122334455", "eth1"] {
        assert_eq!(lines(&held(&text, &snapshot, &[leaving])), [enp3s0.to_string(), format!("{enx} down")]);
    }
    // A name comes before an altname.
    snapshot.links[3].altnames = vec!["eth1".into()];
    assert_eq!(lines(&held(TWO, &snapshot, &[]))[1], "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24");
}

#[test]
fn members_of_a_vrf_are_named_and_skipped() {
    let more = ["lo 198.51.100.60/32", "eth3 192.0.2.60/32"];
    let mut snapshot = kernel(&[&TWO_ADDRESSES[..], &more].concat(), Vec::new());
    snapshot.links[2].vrf = true;
    snapshot.links[4].vrf = true;
    let eth0 = "eth0 (IPv4) on eth0 via 192.0.2.1 192.0.2.10/24";
    let eth1 = "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 skipped 198.51.100.10/24";
    assert_eq!(lines(&held(TWO, &snapshot, &[])), [eth0.to_string(), format!("{eth1} down")]);
    let planned = crate::policy::plan(held(TWO, &snapshot, &[]), Some(&snapshot), &Names::default(), None);
    assert_eq!(planned.reason_without(1), Some("skipped: its interface belongs to a VRF, which has its own tables"));
    assert_eq!(planned.policies, [], "one uplink of main is left");
}

#[test]
fn a_record_of_a_second_interface_removes_no_uplink() {
    let both = lines(&held(TWO, &kernel(&TWO_ADDRESSES, Vec::new()), &[]));
    let eth1 = "(IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    let other = |noted: &[(&str, &str)], leaving: &[&str]| {
        let found = held_as(TWO, &[&UP[..], noted].concat(), &kernel(&TWO_ADDRESSES, Vec::new()), leaving);
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
    let second = "eth2=eth1 (IPv4) on eth2 via 198.51.100.1 metric 20 198.51.100.10/24";
    let noted = [&UP[..], &[("eth2", "eth1")]].concat();
    let up = |leaving: &[&str]| {
        let found = held_as(TWO, &noted, &two, leaving);
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
    let eth1 = "eth1 (IPv4) on eth1 via 198.51.100.1 metric 20 198.51.100.10/24";
    for (auto, noted) in [("eth1:1=extra", ("eth1:1", "extra")), ("eth1:1", ("eth1:1", "eth1:1"))] {
        let text = text(auto, noted.1);
        let active = [&UP[..], &[noted]].concat();
        let second =
            |active: &[(&str, &str)], leaving: &[&str]| lines(&held_as(&text, active, &snapshot, leaving))[1].clone();
        for active in [&active[..], &UP] {
            assert_eq!(second(active, &[]), format!("{eth1} 198.51.100.11/24"));
            assert_eq!(second(active, &["eth1:1"]), eth1);
            assert_eq!(second(active, &["eth0:1"]), format!("{eth1} 198.51.100.11/24"), "another one");
            assert_eq!(second(active, &["eth1"]), format!("{eth1} 198.51.100.11/24 down"));
        }
    }
    // No list has it, and ifup does not note it any more: the hook alone is told.
    let unlisted = text("eth1", "extra").replace("auto eth1\niface extra", "iface extra");
    let second = |leaving: &[&str]| lines(&held_as(&unlisted, &UP, &snapshot, leaving))[1].clone();
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
    let wan1 = "eth1 (IPv4) on wan1 via 198.51.100.1 metric 20 198.51.100.10/24";
    for active in [&UP[..], &[]] {
        assert_eq!(lines(&held_as(TWO, active, &snapshot, &[]))[1], wan1);
        assert_eq!(lines(&held_as(TWO, active, &snapshot, &["eth1"]))[1], format!("{wan1} down"));
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
    // The interface of another stanza has the address: no interface was renamed.
    let moved = kernel(&["eth0 192.0.2.10/24", "eth2 198.51.100.10/24"], Vec::new());
    let without_eth1 =
        Snapshot { links: moved.links.iter().filter(|link| link.name != "eth1").cloned().collect(), ..moved };
    let text = format!("{TWO}auto eth2\niface eth2 inet manual\n");
    assert!(lines(&held_as(&text, &UP, &without_eth1, &[]))[1].ends_with("down"));
}

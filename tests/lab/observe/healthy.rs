//! A healthy server with traffic of all kinds: nothing is reported.

use super::{Observer, expect_nothing, lines};
use crate::PLAIN;
use crate::judge::state;
use crate::world::{A4, B4, B6, Host, PUBLIC, World};

const REMOTE: &str = "203.0.113.190";

/// Forwarded and translated connections, ICMP errors, fragments, broadcasts, closed and filtered ports, and a
/// connection that began before.
pub fn traffic_of_all_kinds(world: &World) {
    let World { server, client, lan, isp_a, isp_b, neighbour_a, .. } = world;
    world.install_hooks();
    world.configure(PLAIN);
    server.ok("symroute-gen --write --style hook");
    server.ok("ifup -a");
    world.settle();
    server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward
        nft add table ip nat && nft add chain ip nat post '{ type nat hook postrouting priority srcnat; }' &&
        nft add rule ip nat post ip saddr 203.0.113.0/26 oifname '\"eth0\"' masquerade
        nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }' &&
        nft add rule ip nat pre iifname eth0 tcp dport 8080 dnat to 203.0.113.2:7000
        nft add table inet f && nft add chain inet f in '{ type filter hook input priority 0; }' &&
        nft add rule inet f in tcp dport 25 drop && nft add rule inet f in udp dport 1900 drop");
    let begun =
        client.background(&format!("(while echo there; do sleep 0.2; done) | socat - TCP:{B4}:7000 >/dev/null"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let observed = expect_nothing(world, &|| {
        // Neighbours, the LAN and the remote client reach every address; the LAN reaches the remote client.
        let mut paths: Vec<(&str, &Host, &str)> = Vec::new();
        for to in PUBLIC {
            paths.extend([("client", client, to), ("LAN", lan, to), ("neighbour", neighbour_a, to)]);
        }
        paths.push(("LAN", lan, REMOTE));
        assert_eq!(Host::lost(&paths), Vec::<String>::new(), "{}", state(world));
        for from in PUBLIC {
            assert!(server.pings(Some(from), if from.contains(':') { "2001:db8:f::99" } else { REMOTE }));
        }
        // A published port.
        let published = format!("echo there | socat -t 2 -T 3 - TCP:{A4}:8080,connect-timeout=3");
        assert_eq!(client.outside(&published).stdout(), "there\n");
        // Filtered ports, a closed one, and one that only receives.
        for address in [A4, B4] {
            client.outside(&format!(
                "for n in 1 2 3 4; do timeout 0.3 socat - TCP:{address}:25 </dev/null; echo x | socat - UDP:{address}:1900; done
                timeout 1 socat - TCP:{address}:81 </dev/null; echo x | socat -t 0.3 - UDP:{address}:9"
            ));
        }
        // A remote host that a route rejects.
        server.ok("ip route add blackhole 203.0.113.190/32");
        assert!(!client.pings(None, A4) && !client.pings(None, B4));
        server.ok("ip route del blackhole 203.0.113.190/32");
        // Fragments, and an ICMP error for a packet with no hops left.
        for to in [B4, B6, A4] {
            assert!(client.outside(&format!("ping -q -n -c 2 -i 0.2 -s 4000 {to}")).succeeded(), "{to}");
        }
        client.outside("ip route add 203.0.113.0/26 via 203.0.113.137; ping -q -n -c 2 -i 0.2 -t 3 203.0.113.2");
        // Broadcasts and multicast, in both directions.
        for (isp, network) in [(isp_a, "192.0.2.255"), (isp_b, "198.51.100.255")] {
            isp.outside(&format!("ping -q -n -b -c 2 -i 0.2 {network}; ping -q -n -c 1 -I cust0 224.0.0.1"));
            isp.outside("ping -q -n -c 2 -i 0.2 ff02::1%cust0");
        }
        server.outside("ping -q -n -b -c 2 -i 0.2 198.51.100.255; ping -q -n -c 1 -I eth1 224.0.0.251; ping -q -n -c 1 ff02::1%eth0");
        // The host's own addresses.
        assert!(server.pings(Some(A4), B4) && server.talks(Some(B4), A4));
    });
    drop(begun);
    assert!(observed.link("eth1")["came_in"].as_u64() > Some(3), "{}", observed.text);
    // Filtered ports are counted.
    assert!(observed.link("eth0")["unanswered"].as_u64() >= Some(5), "{}", observed.text);
}

/// A connection that began before, and whose replies then leave through the wrong uplink.
pub fn a_connection_that_began_before(world: &World) {
    let World { server, client, .. } = world;
    world.install_hooks();
    world.configure(PLAIN);
    server.ok("symroute-gen --write --style hook");
    server.ok("ifup -a");
    world.settle();
    for to in ["192.0.2.1", "198.51.100.1"] {
        assert!(server.pings(None, to));
    }
    let _begun =
        client.background(&format!("(while echo there; do sleep 0.1; done) | socat - TCP:{B4}:7000 >/dev/null"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let observer = Observer::start(server, "");
    server.ok("ip rule flush protocol 97");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let observed = observer.finish();
    assert_eq!(
        lines(&observed),
        ["foreign-source-sent ->eth0 tcp 198.51.100.10 7000: rule-missing"],
        "{}",
        observed.text
    );
}

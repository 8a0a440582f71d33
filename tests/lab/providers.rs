//! Checks where the kernel sends packets from each provider's address. The expected routes come from the networks and
//! gateways of the test lab, not from `symroute plan` or `symroute check`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::judge::state;
use crate::world::World;

/// The LAN's network and its client.
const LANS: [(&str, &str); 2] = [("203.0.113.0/26", "203.0.113.2"), ("2001:db8:c::/64", "2001:db8:c::2")];

/// A provider's network, its gateway, and a customer of it.
struct Provider {
    network: IpNet,
    gateway: IpAddr,
    neighbour: IpAddr,
}

/// An address of the server, as `ip -j addr` shows it.
#[derive(Clone)]
struct Local {
    interface: String,
    address: IpAddr,
    length: u8,
}

/// The expected result of a lookup. Without a gateway, the destination is on-link.
struct Lookup {
    from: IpAddr,
    to: IpAddr,
    interface: String,
    gateway: Option<IpAddr>,
}

fn provider(network: &str, gateway: &str, neighbour: &str) -> Provider {
    let address = |text: &str| text.parse().expect("an address");
    Provider { network: network.parse().expect("a network"), gateway: address(gateway), neighbour: address(neighbour) }
}

fn providers(world: &World) -> Vec<Provider> {
    let mut providers = vec![
        provider("192.0.2.0/24", "192.0.2.1", "192.0.2.20"),
        provider("2001:db8:a::/64", "2001:db8:a::1", "2001:db8:a::20"),
        provider("2001:db8:b::/64", "2001:db8:b::1", "2001:db8:b::20"),
    ];
    if world.more() == 0 {
        providers.push(provider("198.51.100.0/24", "198.51.100.1", "198.51.100.20"));
    }
    for n in 0..world.more() {
        let (network, v6) = (world.more_network(n), format!("2001:db8:10{n}::"));
        let hosts: Vec<String> = network.hosts().map(|host| host.to_string()).collect();
        providers.push(provider(&network.to_string(), &hosts[0], hosts.last().expect("hosts")));
        providers.push(provider(&format!("{v6}/64"), &format!("{v6}1"), &format!("{v6}20")));
    }
    providers
}

/// The server's addresses that packets can have. Interfaces with a master (a VRF) have other lookups.
fn locals(links: &str) -> Vec<Local> {
    let links: Value = serde_json::from_str(links).expect("JSON");
    let links = links.as_array().expect("a list").iter();
    let is_up = |link: &&Value| link["flags"].to_string().contains("\"UP\"") && link["master"].is_null();
    let usable =
        |info: &&Value| info["scope"] == "global" && info["tentative"].is_null() && info["dadfailed"].is_null();
    links
        .filter(is_up)
        .flat_map(|link| {
            let interface = link["ifname"].as_str().unwrap_or_default();
            link["addr_info"].as_array().into_iter().flatten().filter(usable).filter_map(move |info| {
                Some(Local {
                    interface: interface.to_string(),
                    address: info["local"].as_str()?.parse().ok()?,
                    length: info["prefixlen"].as_u64()?.try_into().ok()?,
                })
            })
        })
        .collect()
}

/// The interface towards a provider. For an address on another interface, it is the interface with the provider's
/// widest network.
fn wire<'a>(provider: &Provider, locals: &'a [Local], local: &'a Local) -> &'a str {
    let inside = locals.iter().filter(|other| provider.network.contains(&other.address) && other.interface != "lo");
    let widest = inside.min_by_key(|other| other.length).unwrap_or(local);
    if local.length == widest.length && local.interface != "lo" { &local.interface } else { &widest.interface }
}

/// The expected routes: remote addresses and the other provider's customers through the gateway, the LAN directly.
fn expected(world: &World, locals: &[Local], article: bool) -> Vec<Lookup> {
    let providers = providers(world);
    let local_in = |network: &IpNet| locals.iter().find(|local| network.contains(&local.address));
    let mut lookups = Vec::new();
    for provider in &providers {
        for local in locals.iter().filter(|local| provider.network.contains(&local.address)) {
            let inet6 = local.address.is_ipv6();
            let interface = wire(provider, locals, local).to_string();
            let mut expect = |to: IpAddr, interface: &str, gateway| {
                lookups.push(Lookup { from: local.address, to, interface: interface.to_string(), gateway });
            };
            let remote = if inet6 { "2001:db8:f::99" } else { "203.0.113.190" };
            expect(remote.parse().expect("an address"), &interface, Some(provider.gateway));
            let is_other = |other: &&Provider| {
                other.network.addr().is_ipv6() == inet6
                    && other.network != provider.network
                    && local_in(&other.network).is_some()
            };
            if let Some(other) = providers.iter().find(is_other) {
                expect(other.neighbour, &interface, Some(provider.gateway));
            }
            for (network, client) in LANS {
                let network: IpNet = network.parse().expect("a network");
                // The article's only rule sends packets for the LAN to the provider.
                if let Some(lan) = local_in(&network).filter(|lan| lan.address.is_ipv6() == inet6 && !article) {
                    expect(client.parse().expect("an address"), &lan.interface, None);
                }
            }
        }
    }
    lookups
}

impl Lookup {
    /// The difference between the kernel's result and the expected one.
    fn fault(&self, results: &[Value]) -> Option<String> {
        let is = |value: &Value, address: IpAddr| value.as_str().and_then(|text| text.parse().ok()) == Some(address);
        let result = results.iter().find(|result| is(&result["dst"], self.to) && is(&result["from"], self.from));
        let gateway = result.and_then(|result| result["gateway"].as_str()?.parse::<IpAddr>().ok());
        let same_gateway = match (gateway, self.gateway) {
            // An advertised router has a link-local address.
            (Some(IpAddr::V6(found)), Some(_)) if found.is_unicast_link_local() => true,
            (found, expected) => found == expected,
        };
        let is_right = result.is_some_and(|result| result["dev"] == *self.interface && same_gateway);
        let found = result.map_or("nothing".to_string(), Value::to_string);
        (!is_right).then(|| {
            let Lookup { from, to, interface, gateway } = self;
            format!("{from} -> {to}: expected {interface} {gateway:?}, found {found}")
        })
    }
}

/// The lookups that differ from the expected routes, and the number of all lookups.
pub fn wrong_lookups(world: &World) -> (Vec<String>, usize) {
    let read = world.server.ok("ip -j addr; echo; grep -cs article /etc/network/interfaces || true");
    let (links, article) = read.rsplit_once("\n\n").unwrap_or((&read, "0"));
    let lookups = expected(world, &locals(links.trim()), article.trim() != "0");
    let line = |lookup: &Lookup| format!("route get {} from {}\n", lookup.to, lookup.from);
    let batch: String = lookups.iter().map(line).collect();
    let text = world.server.run(&format!("ip -j -force -batch - <<'END'\n{batch}END")).stdout();
    let lists = serde_json::Deserializer::from_str(&text).into_iter::<Vec<Value>>();
    let results: Vec<Value> = lists.flat_map(|list| list.expect("JSON")).collect();
    (lookups.iter().filter_map(|lookup| lookup.fault(&results)).collect(), lookups.len())
}

/// Packets from each provider's address leave through that provider, and packets to the LAN are sent directly.
pub fn assert_lookups(world: &World) {
    let (wrong, _) = wrong_lookups(world);
    assert!(wrong.is_empty(), "wrong lookups:\n{}\n{}", wrong.join("\n"), state(world));
}

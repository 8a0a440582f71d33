//! What the hooks of DHCP clients do: one change of a lease.
//!
//! The router of a lease may be known to the client alone: dhclient adds no second default route without a metric to
//! the main table. The uplink's own table then has it, so that no file has to.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};

use super::change::{Busy, Request, Run, Setting, run_locked};
use super::hook::{Handled, kernel_has_more, unreadable};
use crate::network::{Lease, is_host};

/// What a client reports, from the environment that dhclient-script(8) and dhcpcd-run-hooks(8) describe.
pub struct Change {
    interface: String,
    /// Nothing where the lease has ended, or has no router that can be used.
    lease: Option<Lease>,
    /// What is wrong with the lease.
    fault: Option<String>,
}

/// The client has an address, and reports it.
const BOUND: [&str; 6] = ["BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT", "INFORM"];
/// The client has changed nothing yet.
const BEFORE: [&str; 5] = ["", "MEDIUM", "PREINIT", "PREINIT6", "TEST"];
/// Option 121 (RFC 3442) as dhclient and as dhcpcd name it, and dhcpcd's name of Microsoft's option 249.
const CLASSLESS_ROUTES: [&str; 3] =
    ["new_rfc3442_classless_static_routes", "new_classless_static_routes", "new_ms_classless_static_routes"];

impl Change {
    /// Nothing where the client reports no change. Other reasons than those of a lease count as well: dhcpcd may remove
    /// an address of its own (RFC 3927) when it has a lease, or an address of a router advertisement.
    ///
    /// # Errors
    /// Without `interface`.
    pub fn of_environment() -> Result<Option<Change>> {
        Self::of(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// The values come from a server that may be hostile: none of them reaches a shell.
    fn of(variable: &dyn Fn(&str) -> String) -> Result<Option<Change>> {
        let (interface, reason) = (variable("interface"), variable("reason"));
        if interface.is_empty() {
            bail!(
                "environment variable 'interface' is not set; only hooks of DHCP clients run 'symroute hook --lease'"
            );
        }
        if interface == "lo" || BEFORE.contains(&&*reason) {
            return Ok(None);
        }
        let (lease, fault) = match BOUND.contains(&&*reason).then(|| lease(&interface, variable)) {
            Some(Ok(lease)) => (lease, None),
            Some(Err(fault)) => (None, Some(fault)),
            None => (None, None),
        };
        Ok(Some(Change { interface, lease, fault }))
    }

    /// What pppd reports, by the scripts in /etc/ppp (Debian's /etc/ppp/ip-up sets PPP_IFACE). It adds the addresses before
    /// `ip-up`, and removes them before `ip-down`: the kernel has the rest.
    ///
    /// # Errors
    /// Without `PPP_IFACE`.
    pub fn of_pppd() -> Result<Change> {
        let interface = std::env::var("PPP_IFACE").unwrap_or_default();
        if interface.is_empty() {
            bail!("environment variable 'PPP_IFACE' is not set; only the hooks of pppd run 'symroute hook --ppp'");
        }
        Ok(Change { interface, lease: None, fault: None })
    }

    /// The interface, for messages.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// # Errors
    /// As [`run`](super::change::run).
    pub fn handle(&self, setting: &Setting) -> Result<Handled> {
        // As for the hooks of ifupdown.
        let lock = setting.lock();
        let configuration = (setting.read)();
        if !configuration.has_managed() && !kernel_has_more(&configuration) {
            return Ok(Handled::Ignored(None));
        }
        let request = Request {
            leaving: Vec::new(),
            leases: self.lease.iter().cloned().collect(),
            prepare: &|configuration| match configuration.config.is_invalid() {
                true => Err(unreadable(configuration)),
                false => Ok(()),
            },
            is_skipped: &|_, _| false,
            busy: Busy::SkipOthers(std::slice::from_ref(&self.interface)),
            precheck: &|_, _, _| Ok(()),
        };
        Ok(Handled::Ran(Box::new(run_locked(setting, &request, lock?.as_ref(), configuration)?)))
    }

    /// What is wrong with the lease, and why the interface's uplinks got no policy.
    pub fn failures(&self, run: &Run) -> Vec<String> {
        let is_own = |at: usize| run.plan.uplinks[at].is_on(&self.interface);
        self.fault.iter().cloned().chain(run.failures(&is_own, super::change::Direction::Up)).collect()
    }
}

/// The address and the router of a lease, or what is wrong with them.
fn lease(interface: &str, variable: &dyn Fn(&str) -> String) -> Result<Option<Lease>, String> {
    let classless = CLASSLESS_ROUTES.map(variable).into_iter().find(|routes| !routes.is_empty());
    let (name, routers) = match &classless {
        // Then the client has to ignore the option `routers`, even if these routes have no default.
        Some(routes) => ("classless routes", default_of(routes)),
        None => ("routers", words(&variable("new_routers"))),
    };
    let address = variable("new_ip_address");
    if routers.is_empty() {
        return Ok(None);
    }
    let Some(address) = host(&address) else {
        return Err(format!("the address of its lease is invalid: {}", quoted(&address)));
    };
    let router = routers.iter().filter_map(|router| host(router)).find(|router| *router != address);
    match router {
        Some(router) => {
            let interface = interface.to_string();
            Ok(Some(Lease { interface, address: address.into(), router: router.into(), is_remembered: false }))
        }
        None => Err(format!(
            "the {name} of its lease have no usable router: {}; the gateway stays as it is",
            quoted(&routers.join(" "))
        )),
    }
}

fn words(list: &str) -> Vec<String> {
    list.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// The routers of the default route among classless routes: dhcpcd writes `0.0.0.0/0 192.0.2.1`, dhclient
/// `0 192 0 2 1`, as the option has it. Without a default route, nothing; what is cut off ends the list.
fn default_of(routes: &str) -> Vec<String> {
    let words = words(routes);
    if routes.contains('/') {
        let pairs = words.chunks_exact(2);
        return pairs.filter(|pair| pair[0] == "0.0.0.0/0").map(|pair| pair[1].clone()).collect();
    }
    let mut rest = &words[..];
    let mut routers = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let Some(octets) = length.parse::<usize>().ok().filter(|length| *length <= 32).map(|bits| bits.div_ceil(8))
        else {
            break;
        };
        let Some(router) = after.get(octets..octets + 4) else { break };
        if octets == 0 {
            routers.push(router.join("."));
        }
        rest = &after[octets + 4..];
    }
    routers
}

fn host(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok().filter(|address: &Ipv4Addr| is_host((*address).into()))
}

/// A value of the server for a message: one line of ASCII, and not much of it.
fn quoted(value: &str) -> String {
    const LONGEST: usize = 60;
    let end = if value.chars().count() > LONGEST { "..." } else { "" };
    format!("'{}{end}'", value.chars().take(LONGEST).flat_map(char::escape_default).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The router of a lease, or the fault.
    fn router(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let base = [("interface", "eth1"), ("reason", "RENEW"), ("new_ip_address", "198.51.100.50")];
        let find = |name: &str| {
            let mut known = variables.iter().chain(&base);
            known.find(|(known, _)| *known == name).map(|(_, value)| value.to_string()).unwrap_or_default()
        };
        let change = Change::of(&find).unwrap().unwrap();
        match change.fault {
            Some(fault) => Err(fault),
            None => Ok(change.lease.map(|lease| lease.router.to_string())),
        }
    }

    #[test]
    fn only_a_host_is_a_router() {
        let of = |routers: &str| router(&[("new_routers", routers)]);
        let first = Ok(Some("198.51.100.1".to_string()));
        for routers in
            ["198.51.100.1", "198.51.100.1 198.51.100.2", "198.51.100.1,198.51.100.2", "0.0.0.0 198.51.100.1"]
        {
            assert_eq!(of(routers), first, "{routers}");
        }
        assert_eq!(of(""), Ok(None));
        for hostile in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.1.2.3",
            "198.51.100.50",
            "$(reboot)",
            "`id`",
            "198.51.100.1;id",
            "fe80::1",
            "198.51.100.1/24",
            "01.2.3.4.5",
            "\u{202e}",
            "198.51.100.1\n198.51.100.2",
        ] {
            let fault = of(hostile).unwrap_err();
            assert!(fault.starts_with("the routers of its lease have no usable router: '"), "{fault}");
            assert!(fault.is_ascii() && !fault.contains('\n'), "{fault}");
        }
        assert!(of(&"x".repeat(5000)).unwrap_err().len() < 200);
        for address in ["", "198.51.100.50/24", "0.0.0.0", "fe80::1"] {
            let fault = router(&[("new_routers", "198.51.100.1"), ("new_ip_address", address)]);
            assert_eq!(fault, Err(format!("the address of its lease is invalid: '{address}'")));
        }
    }

    /// RFC 3442: the default is among the classless routes, and the option `routers` does not count.
    #[test]
    fn classless_routes_replace_the_routers() {
        let of = |name: &str, routes: &str| router(&[(name, routes), ("new_routers", "198.51.100.9")]);
        let [dhclient, dhcpcd, microsoft] = CLASSLESS_ROUTES;
        let found = Ok(Some("198.51.100.1".to_string()));
        for routes in
            ["0 198 51 100 1", "24 203 0 113 198 51 100 2 0 198 51 100 1", "32 203 0 113 7 0 0 0 0 0 198 51 100 1"]
        {
            assert_eq!(of(dhclient, routes), found, "{routes}");
        }
        for routes in ["0.0.0.0/0 198.51.100.1", "203.0.113.0/24 198.51.100.2 0.0.0.0/0 198.51.100.1 10.0.0.0/8"] {
            assert_eq!(of(dhcpcd, routes), found, "{routes}");
            assert_eq!(of(microsoft, routes), found, "{routes}");
        }
        // No default, or not to its end.
        for routes in [
            "24 203 0 113 198 51 100 2",
            "0 198 51 100",
            "33 0 0 0 0 0 198 51 100 1 0 198 51 100 1",
            "x 0 198 51 100 1",
        ] {
            assert_eq!(of(dhclient, routes), Ok(None), "{routes}");
        }
        assert_eq!(of(dhcpcd, "203.0.113.0/24 198.51.100.2"), Ok(None));
        for routes in ["0 0 0 0 0", "0 999 51 100 1", "0 $(reboot) 1 1 1"] {
            assert!(of(dhclient, routes).unwrap_err().starts_with("the classless routes of its lease have no usable"));
        }
    }

    #[test]
    fn other_reasons_report_no_lease() {
        for reason in ["EXPIRE", "FAIL", "NAK", "RECONFIGURE", "BOUND6", "ROUTERADVERT"] {
            let variables = [("reason", reason), ("new_routers", "198.51.100.1")];
            assert_eq!(router(&variables), Ok(None), "{reason}");
        }
        assert!(Change::of(&|name| if name == "interface" { "eth1".into() } else { String::new() }).unwrap().is_none());
        assert!(Change::of(&|_| String::new()).is_err());
    }
}

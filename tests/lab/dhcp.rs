//! DHCP servers behind the providers, and the clients of Debian on the server.

use std::path::Path;

use crate::world::{Holder, Host, World, root_of};

/// What a DHCP server of a provider offers.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The only address that it has.
    pub address: &'a str,
    pub mask: &'a str,
    /// Its router, or none.
    pub router: &'a str,
    /// Further options of dnsmasq.
    pub more: &'a str,
}

/// ISP B's first offer; ISP A's has the same form.
pub const FIRST: Offer<'static> =
    Offer { address: "198.51.100.50", mask: "255.255.255.0", router: "198.51.100.1", more: "" };

impl Offer<'_> {
    /// dhclient does not request a renewal time, so the server has to send it without a request.
    pub fn serve(&self, isp: &Host, client: Client) -> Holder {
        let Offer { address, mask, router, more } = self;
        let network = address.rsplit_once('.').map_or("", |(network, _)| network);
        let router = if router.is_empty() { String::new() } else { format!(",{router}") };
        let renewal = match client {
            Client::Dhclient => "--dhcp-option-force=58,3 --dhcp-option-force=59,5",
            Client::Dhcpcd | Client::Udhcpc => "",
        };
        isp.background(&format!(
            "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --group= --port=0 \
             --interface=cust0 --bind-dynamic --no-ping --leasefile-ro --dhcp-authoritative \
             --dhcp-range={address},{address},255.255.255.0,{network}.255,1h --dhcp-option=6 --dhcp-option=3{router} \
             --dhcp-option=1,{mask} {renewal} {more}"
        ))
    }
}

/// A server of leases for twelve seconds: dnsmasq's are two minutes at least. It is busybox from a Debian root.
pub struct ShortLeases {
    _server: Holder,
    _directory: tempfile::TempDir,
}

impl ShortLeases {
    pub fn serve(isp: &Host, address: &str, router: &str) -> ShortLeases {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, root) = (directory.path().display(), root_of("bookworm"));
        let server = isp.background(&format!(
            "cd {path}; touch leases
            printf '%s\\n' 'start {address}' 'end {address}' 'interface cust0' 'min_lease 5' 'lease_file {path}/leases' \
                'pidfile {path}/pid' 'option subnet 255.255.255.0' 'option router {router}' 'option lease 12' >conf
            set -- {root}/usr/lib/*-linux-gnu
            exec \"$1\"/ld-linux* --library-path \"$1\" {root}/bin/busybox udhcpd -f conf",
            root = root.display()
        ));
        ShortLeases { _server: server, _directory: directory }
    }
}

/// A client that ifup starts, and how the package hooks into it.
#[derive(Clone, Copy)]
pub enum Client {
    Dhclient,
    Dhcpcd,
    /// It has no directory for hooks.
    Udhcpc,
}

impl Client {
    /// Installs the hook, and one behind it that notes each reason in /tmp/reasons. ifupdown starts the first of dhclient,
    /// udhcpc and dhcpcd that it finds.
    pub fn install(self, world: &World) {
        let server = &world.server;
        server.mount("touch tmp/none tmp/resolv.conf; mount --bind tmp/resolv.conf etc/resolv.conf");
        let without_dhclient = "mount --bind tmp/none usr/sbin/dhclient";
        let (directory, name) = match self {
            Client::Dhclient => ("etc/dhcp/dhclient-exit-hooks.d", "symroute"),
            Client::Dhcpcd => {
                server.mount(&format!("{without_dhclient}; mount -t tmpfs tmpfs var/lib/dhcpcd"));
                server.mount("mount --bind usr/sbin/dhcpcd.aside usr/sbin/dhcpcd");
                ("usr/lib/dhcpcd/dhcpcd-hooks", "70-symroute")
            }
            Client::Udhcpc => {
                server.mount(&format!("{without_dhclient}; mount --bind usr/bin/busybox usr/sbin/udhcpc"));
                return;
            }
        };
        // What Debian has there stays.
        server.ok(&format!("mkdir /tmp/hooks; cp --preserve=mode /{directory}/* /tmp/hooks"));
        server.mount(&format!("mount --bind tmp/hooks {directory}"));
        let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/dhclient")).expect("a hook");
        server.write(&format!("/{directory}/{name}"), &text);
        server.write(&format!("/{directory}/zz-note"), b"echo $interface $reason >>/tmp/reasons\n");
    }

    /// Asks the server again. dhclient does it by itself every three seconds.
    pub fn renew(self, world: &World) {
        match self {
            Client::Dhclient => {}
            Client::Dhcpcd => drop(world.server.ok("dhcpcd --rebind eth1")),
            Client::Udhcpc => drop(world.server.ok("kill -USR1 $(cat /run/udhcpc.eth1.pid)")),
        }
    }
}

/// Ends the clients of a case that fails: they are no children of its agent.
pub struct Clients<'a>(pub &'a Host);

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        self.0.run("kill $(cat /run/*.pid /run/dhcpcd/*.pid) 2>/dev/null");
    }
}

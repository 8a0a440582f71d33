//! Reading what else of the host bears on symmetry: `/proc/sys`, `/proc/net`, other managers' files, `nft`.
//!
//! What is not there, or may not be read, is taken for absent: `check` is for ordinary users too.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::check::facts::{Facts, Networkd, Settings, Translation, Wildcard};
use crate::network::Link;
use crate::sort::sort;
use crate::system::files::read_bounded;
use crate::system::process;
use crate::system::running::running;

/// Where programs are that know more; nothing is looked up in PATH.
const NFT: &CStr = c"/usr/sbin/nft";
const NMCLI: &CStr = c"/usr/bin/nmcli";
const TIMEOUT: &CStr = c"/usr/bin/timeout";
/// Servers whose replies have the right source address also on a wildcard socket (`IP_PKTINFO`), clients, and programs that
/// use one link only.
const REPLY_CORRECTLY: [&str; 20] = [
    "avahi-daemon",
    "charon",
    "charon-systemd",
    "chronyd",
    "dhclient",
    "dhcpcd",
    "dhcpd",
    "dnsmasq",
    "in.tftpd",
    "knotd",
    "mdnsd",
    "named",
    "ntpd",
    "pdns_server",
    "pluto",
    "rpcbind",
    "snmpd",
    "systemd-network",
    "systemd-resolve",
    "udhcpc",
];

pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let bytes = read_bounded(fs::File::open(path).ok()?).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn number<T: std::str::FromStr + Default>(path: impl AsRef<Path>) -> T {
    read(path).and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// The facts about these links.
pub fn facts(links: &[Link]) -> Facts {
    let processes = Processes::here();
    let networkd_runs = processes.has("systemd-network");
    let forwards = number::<u8>("/proc/sys/net/ipv4/ip_forward") != 0;
    Facts {
        all: settings("all"),
        settings: links.iter().map(|link| (link.name.clone(), settings(&link.name))).collect(),
        without_inet6: links.iter().map(|link| link.name.clone()).filter(|link| without_inet6(link)).collect(),
        forwards,
        dropped: dropped().unwrap_or(0),
        networkd: (networkd_runs || networkd_is_enabled())
            .then(|| Networkd { runs: networkd_runs, removes_rules: networkd_removes_rules() }),
        networkmanager: if processes.has("NetworkManager") { networkmanager() } else { FxHashMap::default() },
        // Only what is forwarded can be translated on its way to another host.
        translations: if forwards { translations() } else { Vec::new() },
        udp: wildcard_udp(&processes),
        hooks: Path::new("/etc/network/if-up.d/symroute").exists(),
        watch: running(),
    }
}

fn without_inet6(link: &str) -> bool {
    number::<u8>(Path::new("/proc/sys/net/ipv6/conf").join(link).join("disable_ipv6")) != 0
}

fn settings(link: &str) -> Settings {
    let value = |name: &str| number::<u8>(Path::new("/proc/sys/net/ipv4/conf").join(link).join(name));
    Settings {
        rp_filter: value("rp_filter"),
        arp_filter: value("arp_filter") != 0,
        arp_ignore: value("arp_ignore"),
        src_valid_mark: value("src_valid_mark") != 0,
        promote_secondaries: value("promote_secondaries") != 0,
    }
}

/// `/proc/net/netstat` has a line of names above each line of values.
fn dropped() -> Option<u64> {
    let text = read("/proc/net/netstat")?;
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        if let Some((_, value)) = pairs.find(|(name, _)| *name == "IPReversePathFilter") {
            return value.parse().ok();
        }
    }
    None
}

/// The processes in this network namespace, by command name (15 bytes of it, proc_pid_comm(5)).
pub(super) struct Processes(Vec<(u32, String)>);

impl Processes {
    pub(super) fn here() -> Self {
        let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|meta| meta.ino()).ok();
        let own = namespace("self");
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        Processes(
            pids.filter(|pid| namespace(&pid.to_string()) == own)
                .filter_map(|pid| Some((pid, read(format!("/proc/{pid}/comm"))?.trim_end().to_string())))
                .collect(),
        )
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(_, comm)| comm == name)
    }

    /// Who holds a socket, by its inode.
    pub(super) fn holding(&self, inodes: &[u64]) -> FxHashMap<u64, (u32, String)> {
        let mut found = FxHashMap::default();
        for (pid, comm) in &self.0 {
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
                if let Some(inode) = inode.and_then(|inode| inode.parse().ok()).filter(|inode| inodes.contains(inode)) {
                    found.entry(inode).or_insert_with(|| (*pid, comm.clone()));
                }
            }
        }
        found
    }
}

fn networkd_is_enabled() -> bool {
    let link = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service";
    Path::new(link).symlink_metadata().is_ok()
}

/// networkd.conf(5): one main file, then drop-ins by name; the last word counts, and a name in /etc hides the
/// same one elsewhere.
fn networkd_removes_rules() -> bool {
    let places = ["/usr/lib", "/usr/local/lib", "/run", "/etc"];
    let main = places.iter().rev().map(|place| PathBuf::from(format!("{place}/systemd/networkd.conf")));
    let mut files: Vec<PathBuf> = main.filter(|path| path.exists()).take(1).collect();
    let mut by_name = BTreeMap::new();
    for place in places {
        for entry in fs::read_dir(format!("{place}/systemd/networkd.conf.d")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "conf") {
                by_name.insert(entry.file_name(), entry.path());
            }
        }
    }
    files.extend(by_name.into_values());
    let mut removes = true;
    for text in files.iter().filter_map(read) {
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "[Network]") else { continue };
            if key.trim() == "ManageForeignRoutingPolicyRules" {
                removes = !matches!(value.trim(), "no" | "n" | "false" | "f" | "off" | "0");
            }
        }
    }
    removes
}

/// Asks NetworkManager, with a short timeout: its files in /run are not written again when it restarts.
fn networkmanager() -> FxHashMap<String, String> {
    let command = [TIMEOUT, c"2", NMCLI, c"--terse", c"--escape", c"no", c"--fields", c"DEVICE,STATE", c"device"];
    process::output(&command).map(|printed| managed_in(&String::from_utf8_lossy(&printed))).unwrap_or_default()
}

/// The links that it manages, and their states, in what `nmcli device` prints (nmcli(1)).
fn managed_in(devices: &str) -> FxHashMap<String, String> {
    let managed = devices.lines().filter_map(|line| line.rsplit_once(':')).filter(|(_, state)| *state != "unmanaged");
    managed.map(|(link, state)| (link.to_string(), state.to_string())).collect()
}

/// Destination translation in the packet filter, iptables' included where that is made of nftables.
fn translations() -> Vec<Translation> {
    let printed = process::output(&[NFT, c"-j", c"list", c"ruleset"]).unwrap_or_default();
    let Ok(ruleset) = serde_json::from_slice::<Value>(&printed) else { return Vec::new() };
    translations_in(&ruleset)
}

/// In what `nft -j list ruleset` prints (libnftables-json(5)).
fn translations_in(ruleset: &Value) -> Vec<Translation> {
    let items = || ruleset["nftables"].as_array().into_iter().flatten();
    let place = |item: &Value, name: &str| {
        let word = |key: &str| item[key].as_str().unwrap_or_default().to_string();
        format!("{} {} {}", word("family"), word("table"), word(name))
    };
    let out: Vec<String> = items()
        .map(|item| &item["chain"])
        .filter(|chain| chain["hook"] == "output")
        .map(|chain| place(chain, "name"))
        .collect();
    let mut found = Vec::new();
    for rule in items().map(|item| &item["rule"]) {
        let expressions = || rule["expr"].as_array().into_iter().flatten();
        let translates = |expression: &Value| {
            expression.get("dnat").is_some()
                || expression["xt"]["name"] == "DNAT" && expression["xt"]["type"] == "target"
        };
        let chain = place(rule, "chain");
        if rule["family"] == "ip6" || !expressions().any(translates) || out.contains(&chain) {
            continue;
        }
        let mut translation = Translation { chain, ..Translation::default() };
        for found in expressions().map(|expression| &expression["match"]) {
            let (left, right) = (&found["left"], &found["right"]);
            let texts = || match right {
                Value::Object(set) => set.get("set").and_then(Value::as_array).cloned().unwrap_or_default(),
                one => vec![one.clone()],
            };
            let names = || texts().iter().filter_map(Value::as_str).map(str::to_string).collect();
            if left["meta"]["key"] == "iifname" || left["meta"]["key"] == "iif" {
                translation.iif = Some((found["op"] != "!=", names()));
            } else if left["payload"]["field"] == "daddr" && found["op"] == "==" {
                translation.daddr = right.as_str().map(str::to_string);
            }
        }
        found.push(translation);
    }
    found
}

/// Servers' sockets on every address at once, but for those known to answer from the right one.
fn wildcard_udp(processes: &Processes) -> Vec<Wildcard> {
    let first_of_clients = read("/proc/sys/net/ipv4/ip_local_port_range")
        .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(32768);
    let mut sockets: Vec<(u64, Wildcard)> = Vec::new();
    for (path, inet6) in [("/proc/net/udp", false), ("/proc/net/udp6", true)] {
        let text = read(path).unwrap_or_default();
        let rows = text.lines().skip(1).filter_map(|line| wildcard_row(line, inet6));
        sockets.extend(rows.filter(|(_, socket)| socket.port < first_of_clients));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let inodes: Vec<u64> = sockets.iter().map(|(inode, _)| *inode).collect();
    let holders = processes.holding(&inodes);
    let root = nix::unistd::geteuid().is_root();
    let mut found: Vec<Wildcard> = sockets
        .into_iter()
        // Root sees every process. A socket without a process is the kernel's (WireGuard, VXLAN), which replies correctly.
        .filter(|(inode, _)| !root || holders.contains_key(inode))
        .map(|(inode, socket)| match holders.get(&inode) {
            Some((pid, program)) => Wildcard { program: Some(program.clone()), pid: Some(*pid), ..socket },
            None => socket,
        })
        .filter(|socket| !socket.program.as_deref().is_some_and(|program| REPLY_CORRECTLY.contains(&program)))
        .collect();
    sort(&mut found);
    found.dedup();
    found
}

/// A line of `/proc/net/udp` (proc(5)): a wildcard address, a port, no remote end; with the socket's inode.
fn wildcard_row(line: &str, inet6: bool) -> Option<(u64, Wildcard)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    // Multicast and link-local services: their clients are neighbours.
    let is_link_service = matches!(port, 67 | 68 | 546 | 547 | 1900 | 5353 | 5355);
    let (remote, _) = fields.get(2)?.split_once(':')?;
    let inode = fields.get(9)?.parse().ok()?;
    (zero(address) && zero(remote) && !is_link_service)
        .then_some((inode, Wildcard { port, inet6, program: None, pid: None }))
}

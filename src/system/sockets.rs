//! The program of a flow: the socket in /proc/net, and the process that holds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::host::{Processes, read};
use crate::observe::cause::Program;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A line of /proc/net/tcp or /proc/net/udp (proc(5)).
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    inode: u64,
}

/// The program whose socket receives packets from `remote` to `local`: the connected socket, else the one that is bound
/// to the address, else one for all addresses.
pub(crate) fn program(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<Program> {
    let files = match protocol {
        TCP => ["/proc/net/tcp", "/proc/net/tcp6"],
        UDP => ["/proc/net/udp", "/proc/net/udp6"],
        _ => return None,
    };
    let texts = files.map(|path| read(path).unwrap_or_default());
    let rows = texts.iter().flat_map(|text| text.lines().skip(1)).filter_map(row);
    // A connection that is being opened, or has ended, has no inode: its program has the listening socket.
    let rows = rows.filter(|row| row.inode != 0);
    let best = rows.filter_map(|row| Some((rank(&row, local, remote)?, row))).max_by_key(|(rank, _)| *rank)?;
    let (rank, row) = best;
    let process = Processes::here().holding(&[row.inode]).remove(&row.inode);
    Some(Program { process, uid: row.uid, is_wildcard: rank <= 2 })
}

/// How well the socket fits.
fn rank(row: &Row, local: SocketAddr, remote: SocketAddr) -> Option<u8> {
    let is_address = row.local.ip() == local.ip();
    match () {
        () if row.local.port() != local.port() => None,
        () if row.remote == remote && is_address => Some(4),
        () if row.remote.port() != 0 => None,
        () if is_address => Some(3),
        () if row.local.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && local.is_ipv4() => Some(2),
        // It may receive IPv6 only; /proc does not show that.
        () if row.local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(1),
        () => None,
    }
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
    Some(Row { local, remote, uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
}

/// `0A0200C0:0016`: words of the machine's byte order. An IPv4 address of an IPv6 socket is mapped.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn finds_its_own_sockets() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let remote = "192.0.2.9:4000".parse().unwrap();
        let found = program(TCP, SocketAddr::new("192.0.2.1".parse().unwrap(), port), remote).unwrap();
        assert_eq!(found.process.unwrap().0, std::process::id());
        assert!(found.is_wildcard);
        assert_eq!(program(UDP, SocketAddr::new("192.0.2.1".parse().unwrap(), port), remote), None);

        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = bound.local_addr().unwrap();
        let found = program(UDP, local, remote).unwrap();
        assert!(!found.is_wildcard);
        bound.connect("127.0.0.1:4000").unwrap();
        assert_eq!(program(UDP, local, remote), None);
        assert!(program(UDP, local, "127.0.0.1:4000".parse().unwrap()).is_some());
    }
}

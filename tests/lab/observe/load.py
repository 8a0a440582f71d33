"""Sends packets of mixed flows on both ends of veth pairs: load.py SEED PACKETS PAUSE [KINDS]

What is sent on peer0 and peer1 arrives at eth0 and eth1. A flow is a list of packets; the packets of 64 flows at a time are
mixed. Prints the packets per second."""
import random, socket, struct, sys, time

seed, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
kinds = sys.argv[4] if len(sys.argv) > 4 else "hhhhhheeuuUwpPfanog"
random.seed(seed)


def link(name):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    opened.bind((name, 0))
    return opened


links = {name: link(name) for name in ("eth0", "eth1", "peer0", "peer1")}
mac = {name: opened.getsockname()[4] for name, opened in links.items()}
to = {"eth0": mac["peer0"], "eth1": mac["peer1"], "peer0": mac["eth0"], "peer1": mac["eth1"]}
local = {4: ["192.0.2.10", "198.51.100.10"], 6: ["2001:db8:a::10", "2001:db8:b::10"]}
SYN, ACK, PSH, FIN = 2, 16, 8, 1
serial = 0


def header(version, protocol, source, destination, payload):
    if version == 4:
        addresses = socket.inet_aton(source) + socket.inet_aton(destination)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
        return b"\x08\x00" + head + addresses + payload
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def tcp(sport, dport, flags):
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1000, 0, 0) + bytes(8)


def udp(sport, dport):
    return struct.pack("!HHHH", sport, dport, 16, 0) + bytes(8)


def echo(version, is_reply, number):
    kind = {4: (8, 0), 6: (128, 129)}[version][is_reply]
    return struct.pack("!BBHHH", kind, 0, 0, number, 1) + bytes(8)


def flow():
    """The frames of one flow, with their links."""
    global serial
    serial += 1
    version = random.choice((4, 4, 6))
    remote = f"203.0.113.{130 + serial % 60}" if version == 4 else f"2001:db8:f::{130 + serial % 60}"
    port = 1024 + serial // 60 % 60000
    came_in = random.randrange(2)
    other = 1 - came_in
    own = local[version][came_in]
    out = []

    def received(at, protocol, payload, address=own):
        out.append((f"peer{at}", header(version, protocol, remote, address, payload)))

    def sent(at, protocol, payload, address=own):
        out.append((f"eth{at}", header(version, protocol, address, remote, payload)))

    kind = random.choice(kinds)
    length = random.randrange(1, 40)
    leaves = came_in if kind in "hup" else other
    if kind in "he":
        received(came_in, 6, tcp(port, 22, SYN))
        sent(leaves, 6, tcp(22, port, SYN | ACK))
        for _ in range(length):
            if random.random() < 0.5:
                received(came_in, 6, tcp(port, 22, ACK | PSH))
            else:
                sent(leaves, 6, tcp(22, port, ACK))
        sent(leaves, 6, tcp(22, port, ACK | FIN))
    elif kind in "uU":
        for _ in range(length):
            received(came_in, 17, udp(port, 53))
            sent(leaves, 17, udp(53, port))
    elif kind == "w":  # a reply from the other uplink's address
        received(came_in, 17, udp(port, 5300))
        for _ in range(length):
            sent(other, 17, udp(5300, port), local[version][other])
    elif kind in "pP":
        protocol = 1 if version == 4 else 58
        for _ in range(length):
            received(came_in, protocol, echo(version, 0, port))
            sent(leaves, protocol, echo(version, 1, port))
    elif kind == "f":  # opened by the host, from the wrong address
        for _ in range(length):
            sent(other, 17, udp(port, 123))
    elif kind == "a":  # arrives through the other uplink, and is answered by the right one
        for _ in range(length):
            received(other, 17, udp(port, 54))
            sent(came_in, 17, udp(54, port))
    elif kind == "n":  # no reply
        received(came_in, 6, tcp(port, 25, SYN))
    elif kind == "o":  # opened by the host
        for _ in range(length):
            sent(came_in, 17, udp(port, 443))
            received(came_in, 17, udp(443, port))
    else:  # GRE has no ports: each flow has a remote address of its own
        remote = f"198.{18 + serial // 65536 % 2}.{serial // 256 % 256}.{serial % 256}" if version == 4 else f"2001:db8:f:1::{serial:x}"
        for _ in range(length):
            received(came_in, 47, bytes(16))
            sent(other if length % 2 else came_in, 47, bytes(16))
    return iter([(links[at], to[at] + bytes(6) + frame) for at, frame in out])


flows = [flow() for _ in range(64)]
sent, begin = 0, time.monotonic()
while sent < count:
    at = random.randrange(64)
    packet = next(flows[at], None)
    if packet is None:
        flows[at] = flow()
        continue
    packet[0].send(packet[1])
    sent += 1
    if pause and sent % 64 == 0:
        time.sleep(pause)
print(int(sent / (time.monotonic() - begin)))

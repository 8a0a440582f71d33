//! Invalid files are rejected, and an error leaves the files unchanged.

use std::fs;

use super::{TWO, generate, in_root, root, text};

#[test]
fn invalid_files_are_rejected() {
    let eth0 = "auto eth0\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n";
    let eth1 = "auto eth1\niface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n";
    let cases: [(&str, String, &str); 7] = [
        ("byte order mark (BOM)", format!("\u{feff}{eth0}{eth1}"), "interfaces:1:1"),
        ("unknown keyword 'Iface'", "Iface eth0 inet manual\n".to_string(), "interfaces:1:1"),
        ("misplaced option", format!("{eth0}auto x\n mtu 9000\n{eth1}"), "interfaces:6:2"),
        ("no address type", format!("{eth0}iface eth1 inte static\n"), "interfaces:5:12"),
        ("empty value", format!("{eth0} hostname\n{eth1}"), "interfaces:5:2"),
        ("both have metric 5", format!("{eth0} metric 5\n{eth1} metric 5\n"), "interfaces:7:"),
        ("'# symroute: end' is missing", format!("{eth0} # symroute: begin\n{eth1}"), "interfaces:5:2"),
    ];
    for (what, interfaces, place) in cases {
        for arguments in [&["--write"][..], &["--check"], &["--json"], &[]] {
            let root = root(&interfaces, &[]);
            let output = in_root(&root, arguments);
            let messages = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{interfaces}\n{messages}");
            assert!(messages.contains(what) && messages.contains(place), "{what}, {place}:\n{interfaces}\n{messages}");
            assert!(messages.ends_with("symroute-gen: nothing was written\n"), "{messages}");
            assert_eq!(fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap(), interfaces);
        }
    }
}

/// An error in one stanza: its uplink gets no policy and a warning, the others are managed.
#[test]
fn an_error_affects_only_its_uplink() {
    let good = |n: u8| {
        let net = ["198.51.100", "203.0.113", "192.0.2"][usize::from(n)];
        format!("auto eth{n}\niface eth{n} inet static\n address {net}.10/24\n gateway {net}.1\n metric 1{n}\n")
    };
    let faults = [
        ("invalid address", "address 192.0.2.10", "address 192.0.2.256", "interfaces:13:10"),
        ("invalid netmask", "2.10/24", "2.10/33", "interfaces:13:10"),
        ("invalid gateway address", "gateway 192.0.2.1", "gateway none", "interfaces:14:10"),
        ("not an IPv4 address", "gateway 192.0.2.1", "gateway 2001:db8::1", "interfaces:14:10"),
        ("its own address", "gateway 192.0.2.1", "gateway 192.0.2.10", "interfaces:14:2"),
        ("invalid metric", "metric 12", "metric twelve", "interfaces:15:9"),
        ("out of range", "metric 12", "metric 12\n symroute-table 4294967296", "interfaces:16:17"),
        ("table 254 (main) is reserved", "metric 12", "metric 12\n symroute-table main", "interfaces:16:17"),
        ("unknown table", "metric 12", "metric 12\n symroute-table guest", "interfaces:16:17"),
        ("invalid value 'perhaps'", "metric 12", "metric 12\n symroute perhaps", "interfaces:16:11"),
        ("two gateways", "metric 12", "metric 12\n symroute-gateway 192.0.2.3", "interfaces:16:19"),
    ];
    let three = format!("{}{}", good(0), good(1));
    let two = root(&three, &[]);
    assert_eq!(in_root(&two, &["--write"]).status.code(), Some(0));
    let written = fs::read_to_string(two.path().join("etc/network/interfaces")).unwrap();
    for (what, from, to, place) in faults {
        let faulty = good(2).replace(from, to);
        assert_ne!(faulty, good(2), "{what}");
        let root = root(&format!("{three}{faulty}"), &[]);
        let output = in_root(&root, &["--write"]);
        let messages = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{faulty}\n{messages}");
        assert!(
            messages.contains(what) && messages.contains(place) && messages.contains(": no policy for eth2 (IPv4)"),
            "{messages}"
        );
        assert!(!messages.contains("error: ") && messages.contains("warning: "), "{messages}");
        let after = fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap();
        // The others may need one more line each for main's routes through its interface.
        assert!(after.ends_with(&faulty) && after.matches("symroute: begin").count() == 2, "{what}: {after}");
        assert!(written.lines().all(|line| after.contains(line)), "{what}: {after}");
        assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0), "{what}");
    }
}

/// If two stanzas request the same number, the first one gets it.
#[test]
fn the_first_of_two_stanzas_gets_a_number() {
    let stanzas = TWO.replace("gateway 192.0.2.1\n", "gateway 192.0.2.1\n    symroute-table 7\n");
    let stanzas = stanzas.replace("gateway 198.51.100.1\n", "gateway 198.51.100.1\n    symroute-table 7\n");
    assert_eq!(stanzas.matches("symroute-table 7").count(), 2, "{stanzas}");
    let output = generate(&["-"], stanzas.as_bytes());
    let (out, messages) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{messages}");
    assert!(
        messages
            .contains("table 7 is requested by two uplinks: eth0 (IPv4) and eth1 (IPv4): no policy for eth1 (IPv4)"),
        "{messages}"
    );
    assert!(out.contains("default via 192.0.2.1 dev eth0 table 7") && !out.contains("via 198.51.100.1 dev"), "{out}");
}

/// A stanza that gets an error after its block was written keeps the block.
#[test]
fn a_faulty_stanza_keeps_its_block() {
    let root = root(TWO, &[]);
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let path = root.path().join("etc/network/interfaces");
    let faulty = fs::read_to_string(&path).unwrap().replace("gateway 198.51.100.1\n", "gateway 198.51.100.1x\n");
    fs::write(&path, &faulty).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&path).unwrap(), faulty);
    assert_eq!(in_root(&root, &["--remove", "--write"]).status.code(), Some(0));
    assert!(!fs::read_to_string(&path).unwrap().contains("symroute"));
}

#[test]
fn inherited_gateways_are_used() {
    let eth0 = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n mtu 1400\n";
    let heir = "iface eth1 inet static inherits TEMPLATE\n address 198.51.100.10/24\n";
    let template = "iface template inet static\n gateway 198.51.100.1\n";
    let output = generate(&["-"], format!("{template}{eth0}{}", heir.replace("TEMPLATE", "template")).as_bytes());
    let messages = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(messages.contains("default via 198.51.100.1 dev eth1 table 2"), "an inherited gateway: {messages}");
    let second = heir.replace("TEMPLATE", "eth0") + " gateway 198.51.100.1\n";
    let output = generate(&["-"], format!("{eth0}{second}").as_bytes());
    let messages = text(&output.stderr);
    assert!(
        messages.contains("two 'gateway' lines in one stanza: no policy for eth1 (IPv4)"),
        "one is inherited: {messages}"
    );
    let other = "iface eth1 inet static inherits eth0\nauto eth2\niface eth2 inet static\n address 203.0.113.5/24\n gateway 203.0.113.1\n";
    let output = generate(&["-"], format!("{eth0}{other}").as_bytes());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("inherits from it and would run them too"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn all_errors_are_reported_at_once() {
    let output = generate(&["-"], b"iface eth0 inet static\n address x\n gateway y\nauto a\nfoo bar\nauto b\nfoo\n");
    let messages = text(&output.stderr);
    assert_eq!((messages.matches("error: ").count(), messages.matches("warning: ").count()), (2, 3), "{messages}");
    assert!(output.stdout.is_empty());
    for arguments in [
        &["/nowhere/interfaces"][..],
        &["--template", "/nowhere.j2", "-"],
        &["--write", "-"],
        &["--style", "x"],
        &["/"],
    ] {
        let output = generate(arguments, TWO.as_bytes());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

/// A line of the administrator inside a block is reported with its place, and is kept.
#[test]
fn foreign_lines_inside_a_block_stay() {
    let others = [
        "    mtu 9000",
        "    # keep this",
        "",
        "    post-up iptables-restore /etc/rules",
        "    post-up ip rule add from 203.0.113.9 table 50 priority 5",
        "    post-up ip addr add 192.0.2.77/24 dev eth0",
        "    pre-up ip link set dev eth0 group 97",
        "    metric high",
        "auto eth9",
        "iface eth9 inet manual",
    ];
    for style in ["iproute2", "article", "hook"] {
        let root = root(TWO, &[]);
        let file = root.path().join("etc/network/interfaces");
        assert_eq!(in_root(&root, &["--write", "--style", style]).status.code(), Some(0));
        let written = fs::read_to_string(&file).unwrap();
        for other in others {
            let with = written.replacen("    # symroute: end", &format!("{other}\n    # symroute: end"), 1);
            let line = 1 + with.lines().position(|line| line.contains("# symroute: end")).unwrap() - 1;
            let column = 1 + other.len() - other.trim_start().len();
            fs::write(&file, &with).unwrap();
            for arguments in [&["--write"][..], &["--check"], &["--remove", "--write"]] {
                let output = in_root(&root, arguments);
                let messages = text(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{style} {other} {arguments:?}: {messages}");
                let place = format!("etc/network/interfaces:{line}:{column}");
                assert!(
                    messages.contains("was not written by symroute-gen") && messages.contains(&place),
                    "{place}: {messages}"
                );
                assert_eq!(fs::read_to_string(&file).unwrap(), with, "{style} {other}");
            }
        }
    }
}

/// If `source` silently reads no file, there is a warning. It names the whole path.
#[test]
fn sources_without_files_get_a_warning() {
    for (argument, word) in [("interfaces.d/{a,b}", "'{'"), ("a|b", "'|'"), ("$(ls)", "'$'"), ("f$1", "'$1'")] {
        let root = root(&format!("source {argument}\n{TWO}"), &[]);
        let output = in_root(&root, &["--check"]);
        assert_eq!(output.status.code(), Some(1));
        let messages = text(&output.stderr);
        assert!(messages.contains("reads no file here") && messages.contains(word), "{argument}: {messages}");
    }
    let missing = generate(&["--root", "/nonexistent"], b"");
    assert!(
        text(&missing.stderr).contains("cannot read /nonexistent/etc/network/interfaces: "),
        "{}",
        text(&missing.stderr)
    );
}

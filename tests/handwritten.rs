//! Manual policy routing: symroute finds it, skips it, does not use its tables and priorities, and warns of its
//! mistakes.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use symroute::commands::tables::Names;
use symroute::handwritten::lint;
use symroute::interfaces::{Config, Dialect};
use symroute::policy::plan;
use symroute::rewrite::rewrite;
use symroute::rewrite::template::style;
use symroute::system::files::Root;
use symroute::uplinks::find;

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handwritten");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_none());
    files.sort();
    files
}

/// The complete output of symroute-gen: the warnings, the plan, and that it writes nothing.
#[test]
fn each_warning_matches_its_fixture() {
    for file in fixtures() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("etc/network")).unwrap();
        fs::create_dir_all(root.path().join("etc/iproute2/rt_tables.d")).unwrap();
        fs::write(root.path().join("etc/iproute2/rt_tables.d/local.conf"), "200 isp-b\n").unwrap();
        fs::copy(&file, root.path().join("etc/network/interfaces")).unwrap();
        let path = root.path().to_str().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_symroute-gen")).args(["--root", path]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(path, "");
        let printed = text(&output.stderr) + &text(&output.stdout);
        let expected = file.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &printed).unwrap();
        }
        assert_eq!(printed, fs::read_to_string(&expected).unwrap(), "{}", file.display());
        assert!(printed.ends_with("Nothing to write.\n"), "{}", file.display());
    }
}

/// Reads only this file: the root does not exist.
fn read(bytes: &[u8]) -> Config {
    let alone = Root::new(Path::new("/nonexistent"));
    Config::parse(Path::new("/etc/network/interfaces"), bytes.to_vec(), &alone, Dialect::Ifupdown)
}

#[test]
fn manual_tables_and_priorities_are_in_use() {
    let config = read(include_bytes!("fixtures/handwritten/correct"));
    let mut names = Names::default();
    names.add(b"200 isp-b\n");
    let found = find(&config, None, &[], &names);
    let set = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&found.tables_in_use), set(&[100, 200, 300]));
    assert_eq!(set(&found.priorities_in_use), set(&[1000, 1001, 1100, 1110]));
    assert!(found.uplinks.iter().all(|uplink| uplink.is_manual), "{:#?}", found.uplinks);
    // A table that only a `down` line names, a stanza for two interfaces, octal and hexadecimal numbers.
    let config = read(
        b"auto eth0=both eth1=both\niface both inet manual\n up ip ru a iif lo ta 0x10 prio 010\n\
          iface eth2 inet manual\n down ip route flush table 17\n",
    );
    let found = find(&config, None, &[], &names);
    assert_eq!((set(&found.tables_in_use), set(&found.priorities_in_use)), (set(&[16, 17]), set(&[8])));
}

/// A stanza is not skipped because another stanza has manual policy routing.
#[test]
fn only_stanzas_with_manual_policy_are_skipped() {
    let with = |line: &str| {
        let text = format!(
            "auto eth0 eth1 eth2\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
             iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n metric 9\n\
             iface eth2 inet static\n address 203.0.113.1/26\n {line}\n"
        );
        let found = find(&read(text.as_bytes()), None, &[], &Names::default());
        found.uplinks.iter().map(|uplink| uplink.is_manual).collect::<Vec<_>>()
    };
    for (line, expected) in [
        ("up ip rule add from 203.0.113.0/26 table 7", [false, false]),
        ("up ip rule add from 0.0.0.0/0 fwmark 1 table 7", [false, false]),
        ("up ip route add default via 203.0.113.2 table 7", [false, false]),
        ("up ip rule add from 198.51.100.10 table 7", [false, true]),
        ("up ip rule add from 192.0.2.0/24 table 7", [true, false]),
        ("up ip route add default via 198.51.100.1 dev eth1:3 table 7", [false, true]),
        ("up ip route add default via 198.51.100.1 dev eth2 table 7", [false, false]),
        ("up ip -6 rule add from 2001:db8::/32 table 7", [false, false]),
        ("down ip rule del from 198.51.100.10 table 7", [false, false]),
    ] {
        assert_eq!(with(line), expected, "{line}");
    }
    let text =
        b"auto eth0\niface eth0 inet6 auto\n up ip -6 rule add from 2001:db8:a::/64 table 7\niface eth0 inet dhcp\n";
    let found = find(&read(text), None, &[], &Names::default());
    assert_eq!(found.uplinks.iter().map(|uplink| uplink.is_manual).collect::<Vec<_>>(), [true, false]);
}

/// symroute-gen's own lines without their markers get no warning.
#[test]
fn lines_of_symroute_gen_get_no_warning() {
    for text in [
        include_str!("fixtures/two-uplinks.iproute2"),
        include_str!("fixtures/two-uplinks.article"),
        include_str!("fixtures/article.expected"),
    ] {
        let text: String =
            text.lines().filter(|line| !line.contains("# symroute")).map(|line| format!("{line}\n")).collect();
        assert!(text.contains("ip rule add"));
        assert_eq!(lint(&read(text.as_bytes()), &Names::default()), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Any words are checked. Each warning has an id and a line.
    #[test]
    fn lint_reads_any_lines(lines in prop::collection::vec(
        (prop::sample::select(vec!["up", "pre-up", "down", "post-down", "post up", "iface eth1 inet static\n up",
            "iface eth0 inet6 static\n address 2001:db8::1/64\n up", "iface x inet dhcp\n down"]),
         prop::sample::select(vec!["ip", "/sbin ip", "ip -6", "sh -c 'ip", "true || ip", "/bin/ip -4"]),
         prop::sample::select(vec!["rule add", "rule del", "ru a", "route add", "r r", "rule flush", "route del", "a a"]),
         prop::collection::vec(prop::sample::select(vec!["from", "to", "192.0.2.10", "192.0.2.0/24", "table", "7", "isp",
            "lookup", "main", "via", "192.0.2.1", "dev", "eth0", "eth9", "$IFACE", "src", "default", "prio", "100", "t",
            "fwmark", "1/0", "<x>", "fe80::1", "onlink", "nexthop", "||", ";", "}", "'", "lock", "type", "goto"]), 0..9)),
        0..12)) {
        let mut text = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n".to_string();
        for (option, program, verb, words) in lines {
            text += &format!(" {option} {program} {verb} {}\n", words.join(" "));
        }
        let config = read(text.as_bytes());
        for found in lint(&config, &Names::default()) {
            let location = found.location.expect("a location");
            prop_assert!(found.id.is_some() && config.files[location.file()].document.count() > location.line());
            prop_assert!(!found.message.is_empty() && !found.help.is_empty(), "{:?}", found);
        }
    }
}

/// The numbers after `table` and similar words, found without symroute's grammar.
fn numbers_after(text: &str, words: &[&str]) -> BTreeSet<u32> {
    let lines = text.lines().map(str::trim).filter(|line| {
        let policy = line.split([' ', '\t', ';']).any(|word| matches!(word, "rule" | "ru" | "route" | "r"));
        let option = ["up", "down", "pre-", "post-"].iter().any(|option| line.starts_with(option));
        policy && option && !line.starts_with("post up") && !line.contains('<')
    });
    let pairs = lines.flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.windows(2).map(|pair| (pair[0].to_string(), pair[1].to_string())).collect::<Vec<_>>()
    });
    pairs.filter(|(word, _)| words.contains(&word.as_str())).filter_map(|(_, number)| number.parse().ok()).collect()
}

/// What symroute finds in each fixture, compared with the words of its lines; and nothing is written beside it.
#[test]
fn manual_policy_is_found_and_not_doubled() {
    for file in fixtures() {
        let bytes = fs::read(&file).unwrap();
        let config = read(&bytes);
        let (name, text, names) = (file.display(), String::from_utf8_lossy(&bytes), Names::default());
        let found = find(&config, None, &[], &names);
        let tables: BTreeSet<u32> = found.tables_in_use.iter().copied().filter(|table| *table != 254).collect();
        let mut in_lines = numbers_after(&text, &["table", "lookup"]);
        in_lines.remove(&254);
        assert_eq!(tables, in_lines, "{name}: tables");
        let priorities: BTreeSet<u32> = found.priorities_in_use.iter().copied().collect();
        assert_eq!(priorities, numbers_after(&text, &["priority", "prio", "pref", "order"]), "{name}: priorities");

        let plan = plan(found, None, &names, None);
        for policy in &plan.policies {
            let uplink = &plan.uplinks[policy.uplink];
            assert!(!uplink.is_manual, "{name}: {} gets a second policy", uplink.label());
        }
        let template = style("iproute2").unwrap();
        let written = rewrite(&config, &plan, Some(&template)).unwrap().unwrap_or_default();
        for config in written.iter().map(|change| read(&change.new_parts().collect::<Vec<_>>().concat())) {
            for stanza in &config.stanzas {
                let has_rule =
                    config.own_options(stanza).iter().any(|option| option.value.to_string().contains(" rule "));
                assert!(
                    !(config.has_block(stanza) && has_rule),
                    "{name}: {} has rules and gets a block",
                    stanza.interface
                );
            }
        }
    }
}

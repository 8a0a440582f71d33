//! Manual policy routing: symroute finds it, skips it, does not use its tables and priorities, and warns of its
//! mistakes.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use symroute::commands::tables::Names;
use symroute::handwritten::lint;
use symroute::interfaces::{Config, Dialect};
use symroute::network::Family;
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
            prop_assert!(found.id.is_some() && config.files[location.file].document.lines().len() > location.line);
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

/// Published files. SYMROUTE_CORPUS names their directory. The last column of its INDEX.tsv has tags: the mistakes of
/// each file, found by other means.
#[test]
#[ignore = "the files are not part of symroute; SYMROUTE_CORPUS names their directory"]
fn published_files_get_their_warnings() {
    let directory = std::env::var_os("SYMROUTE_CORPUS").map(PathBuf::from).expect("SYMROUTE_CORPUS");
    // A tag, and the warnings that its files must get.
    let expected: [(&str, &[&str]); 13] = [
        ("rule-no-del", &["manual-leaks"]),
        ("rule-not-deleted", &["manual-leaks"]),
        ("wrong-table", &["manual-wrong-table"]),
        ("table-name-mismatch", &["manual-wrong-table"]),
        ("wrong-src", &["manual-wrong-source"]),
        ("wrong-cmd", &["manual-never-runs"]),
        ("bad-rule", &["manual-never-runs"]),
        ("wrong-dev", &["manual-wrong-device"]),
        ("rule-missing", &["manual-never-matches"]),
        ("rule-to-instead-of-from", &["manual-never-matches"]),
        ("rules-in-wrong-stanza", &["manual-wrong-stanza"]),
        ("bad-gateway", &["manual-wrong-gateway"]),
        ("placeholder", &["manual-never-runs"]),
    ];
    // A warning, and the only tags whose files may get it.
    let only: [(&str, &[&str]); 5] = [
        ("manual-wrong-table", &["wrong-table", "table-name-mismatch"]),
        ("manual-wrong-source", &["wrong-src"]),
        ("manual-wrong-stanza", &["rules-in-wrong-stanza"]),
        ("manual-leaks", &["rule-no-del", "rule-partial-del", "rule-not-deleted"]),
        ("manual-never-matches", &["rule-missing", "rule-to-instead-of-from", "rule-partial-del"]),
    ];
    let index = fs::read_to_string(directory.join("INDEX.tsv")).unwrap();
    let (mut files, mut wrong, mut counts) = (0, Vec::new(), BTreeMap::new());
    for row in index.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (name, verdict, tags) = (columns[0], columns[5], columns[6].split(',').collect::<BTreeSet<_>>());
        if !tags.contains("rule") && !tags.contains("ip-rule") {
            continue;
        }
        let bytes = fs::read(directory.join(name)).unwrap();
        let config = read(&bytes);
        files += 1;
        let mut report = |what: String| wrong.push(format!("{name}: {what}"));
        if config.is_invalid() != (verdict == "REJECT") {
            report(format!("{verdict} by ifquery"));
        }
        let names = Names::default();
        let found = find(&config, None, &[], &names);
        let text = String::from_utf8_lossy(&bytes);
        // Lines that are only a shell comment do not count.
        let read_directly = numbers_after(&text, &["table", "lookup"]);
        let in_use: BTreeSet<u32> = found.tables_in_use.iter().copied().filter(|table| *table != 254).collect();
        if in_use != read_directly && !config.is_invalid() {
            report(format!("finds tables {in_use:?}, expected {read_directly:?}"));
        }
        let read_directly = numbers_after(&text, &["priority", "prio", "pref"]);
        let in_use: BTreeSet<u32> = found.priorities_in_use.iter().copied().collect();
        if in_use != read_directly && !config.is_invalid() {
            report(format!("finds priorities {in_use:?}, expected {read_directly:?}"));
        }
        for uplink in &found.uplinks {
            let of_link = config.stanzas.iter().filter(|stanza| stanza.interface == uplink.interface.as_bytes());
            let has_own = of_link.flat_map(|stanza| &stanza.entries).any(|entry| {
                let value = entry.value.to_string();
                let inet6 = value.contains("-6") || value.contains("::");
                let policy = value.contains(" rule ") || value.contains(" table ") && !value.contains("table main");
                policy && value.contains("ip ") && inet6 == (uplink.family == Family::Inet6)
            });
            let is_named = text.lines().any(|line| {
                let address = uplink.sources.iter().any(|source| line.contains(&format!("from {}", source.net.addr())));
                line.contains("rule add") && address
            });
            if uplink.is_manual != (has_own || is_named) {
                report(format!("{}: manual {}", uplink.label(), uplink.is_manual));
            }
        }
        let plan = plan(find(&config, None, &[], &names), None, &names, None);
        let template = style("iproute2").unwrap();
        let changes = rewrite(&config, &plan, Some(&template)).unwrap();
        for uplink in plan.policies.iter().map(|policy| policy.uplink) {
            if plan.uplinks[uplink].is_manual {
                report(format!("{} gets a second policy", plan.uplinks[uplink].label()));
            }
        }
        // Blocks are written only into stanzas without rules.
        let written = changes.unwrap_or_default().into_iter().map(|change| read(&change.new));
        for stanza in written.flat_map(|config| config.stanzas) {
            if stanza.has_block()
                && stanza.own_options().iter().any(|option| option.value.to_string().contains(" rule "))
            {
                report(format!("{} has rules and gets a block", stanza.interface));
            }
        }
        let found_ids: Vec<&str> = lint(&config, &names).iter().filter_map(|diagnostic| diagnostic.id).collect();
        for id in &found_ids {
            *counts.entry(id.to_string()).or_insert(0) += 1;
        }
        if config.is_invalid() {
            continue;
        }
        for (_, ids) in expected.iter().filter(|(tag, _)| tags.contains(tag)) {
            for id in ids.iter().filter(|id| !found_ids.contains(*id)) {
                report(format!("{id} is missing"));
            }
        }
        for (id, tagged) in only {
            if found_ids.contains(&id) && !tagged.iter().any(|tag| tags.contains(tag)) {
                report(format!("{id} is not in its tags: {tags:?}"));
            }
        }
    }
    eprintln!("{files} files, {counts:#?}");
    assert!(files > 0 && wrong.is_empty(), "{} of {files} files:\n{}", wrong.len(), wrong.join("\n"));
}

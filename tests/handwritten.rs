//! Policy that people wrote by hand: recognised, left alone, its numbers taken, its mistakes named.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use symroute::files::Root;
use symroute::interfaces::{Config, Dialect, Family};
use symroute::policy::plan;
use symroute::rewrite::rewrite;
use symroute::rewrite::template::style;
use symroute::tables::Names;
use symroute::uplinks::find;
use symroute::uplinks::handwritten::judge;
use tempfile::TempDir;

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handwritten");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_none());
    files.sort();
    files
}

/// What symroute-gen says and does, in full: the mistakes, the plan, and that there is nothing to write.
#[test]
fn each_mistake_word_for_word() {
    for file in fixtures() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("etc/network")).unwrap();
        fs::create_dir_all(root.path().join("etc/iproute2/rt_tables.d")).unwrap();
        fs::write(root.path().join("etc/iproute2/rt_tables.d/local.conf"), "200 isp-b\n").unwrap();
        fs::copy(&file, root.path().join("etc/network/interfaces")).unwrap();
        let path = root.path().to_str().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_symroute-gen")).args(["--root", path]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(path, "");
        let said = text(&output.stderr) + &text(&output.stdout);
        let expected = file.with_extension("said");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", file.display());
        assert!(said.ends_with("Nothing to write.\n"), "{}", file.display());
    }
}

/// No files but the one that is given: there is no such root.
fn read(bytes: &[u8]) -> Config {
    let alone = Root::new(Path::new("/nonexistent"));
    Config::parse(Path::new("/etc/network/interfaces"), bytes.to_vec(), &alone, Dialect::Ifupdown)
}

#[test]
fn every_number_is_taken() {
    let config = read(include_bytes!("fixtures/handwritten/right"));
    let mut names = Names::default();
    names.add(b"200 isp-b\n");
    let found = find(&config, None, &[], &names);
    let set = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&found.taken_tables), set(&[100, 200, 300]));
    assert_eq!(set(&found.taken_priorities), set(&[1000, 1001, 1100, 1110]));
    assert!(found.uplinks.iter().all(|uplink| uplink.hand_written), "{:#?}", found.uplinks);
    // A table that only the way down names, a stanza that stands for two links, octal and hexadecimal.
    let config = read(
        b"auto eth0=both eth1=both\niface both inet manual\n up ip ru a iif lo ta 0x10 prio 010\n\
          iface eth2 inet manual\n down ip route flush table 17\n",
    );
    let found = find(&config, None, &[], &names);
    assert_eq!((set(&found.taken_tables), set(&found.taken_priorities)), (set(&[16, 17]), set(&[8])));
}

/// A neighbour's policy is no reason to leave a stanza alone.
#[test]
fn only_the_stanza_with_policy_is_left_alone() {
    let with = |line: &str| {
        let text = format!(
            "auto eth0 eth1 eth2\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
             iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n metric 9\n\
             iface eth2 inet static\n address 203.0.113.1/26\n {line}\n"
        );
        let found = find(&read(text.as_bytes()), None, &[], &Names::default());
        found.uplinks.iter().map(|uplink| uplink.hand_written).collect::<Vec<_>>()
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
    assert_eq!(found.uplinks.iter().map(|uplink| uplink.hand_written).collect::<Vec<_>>(), [true, false]);
}

/// symroute-gen's own lines, taken over by somebody who cut the markers off, are right.
#[test]
fn the_lines_of_symroute_gen_get_no_warning() {
    for text in [
        include_str!("fixtures/two-uplinks.iproute2"),
        include_str!("fixtures/two-uplinks.article"),
        include_str!("fixtures/article.expected"),
    ] {
        let text: String =
            text.lines().filter(|line| !line.contains("# symroute")).map(|line| format!("{line}\n")).collect();
        assert!(text.contains("ip rule add"));
        assert_eq!(judge(&read(text.as_bytes()), &Names::default()), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Any heap of words is judged, each finding with a name and a line to point at.
    #[test]
    fn anything_is_judged(lines in prop::collection::vec(
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
        for found in judge(&config, &Names::default()) {
            let at = found.at.expect("a place");
            prop_assert!(found.id.is_some() && config.files[at.file].document.lines().len() > at.line);
            prop_assert!(!found.message.is_empty() && !found.help.is_empty(), "{:?}", found);
        }
    }
}

/// Words of a line as a person counts them, without our grammar: whatever follows `table` and the like.
fn numbers_by_eye(text: &str, words: &[&str]) -> BTreeSet<u32> {
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

/// Published files, if there are any here: SYMROUTE_CORPUS names a directory of them, with INDEX.tsv, whose last
/// column has tags that say by another's judgement what is the matter with each.
#[test]
fn published_files() {
    let Some(directory) = std::env::var_os("SYMROUTE_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: SYMROUTE_CORPUS is not set");
        return;
    };
    // A tag, and what has to be found where it stands.
    let expected: [(&str, &[&str]); 13] = [
        ("rule-no-del", &["hand-written-leaks"]),
        ("rule-not-deleted", &["hand-written-leaks"]),
        ("wrong-table", &["hand-written-wrong-table"]),
        ("table-name-mismatch", &["hand-written-wrong-table"]),
        ("wrong-src", &["hand-written-wrong-source"]),
        ("wrong-cmd", &["hand-written-never-runs"]),
        ("bad-rule", &["hand-written-never-runs"]),
        ("wrong-dev", &["hand-written-wrong-device"]),
        ("rule-missing", &["hand-written-never-matches"]),
        ("rule-to-instead-of-from", &["hand-written-never-matches"]),
        ("rules-in-wrong-stanza", &["hand-written-wrong-stanza"]),
        ("bad-gateway", &["hand-written-wrong-gateway"]),
        ("placeholder", &["hand-written-never-runs"]),
    ];
    // What nobody but the tag's files may be accused of.
    let only: [(&str, &[&str]); 5] = [
        ("hand-written-wrong-table", &["wrong-table", "table-name-mismatch"]),
        ("hand-written-wrong-source", &["wrong-src"]),
        ("hand-written-wrong-stanza", &["rules-in-wrong-stanza"]),
        ("hand-written-leaks", &["rule-no-del", "rule-partial-del", "rule-not-deleted"]),
        ("hand-written-never-matches", &["rule-missing", "rule-to-instead-of-from", "rule-partial-del"]),
    ];
    let index = fs::read_to_string(directory.join("INDEX.tsv")).unwrap();
    let (mut seen, mut wrong, mut counts) = (0, Vec::new(), BTreeMap::new());
    for row in index.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (name, verdict, tags) = (columns[0], columns[5], columns[6].split(',').collect::<BTreeSet<_>>());
        if !tags.contains("rule") && !tags.contains("ip-rule") {
            continue;
        }
        let bytes = fs::read(directory.join(name)).unwrap();
        let config = read(&bytes);
        seen += 1;
        let mut complain = |what: String| wrong.push(format!("{name}: {what}"));
        if config.refused() != (verdict == "REJECT") {
            complain(format!("{verdict} by ifquery"));
        }
        let names = Names::default();
        let found = find(&config, None, &[], &names);
        let text = String::from_utf8_lossy(&bytes);
        // Shell comments on a line of their own are no lines.
        let by_eye = numbers_by_eye(&text, &["table", "lookup"]);
        let taken: BTreeSet<u32> = found.taken_tables.iter().copied().filter(|table| *table != 254).collect();
        if taken != by_eye && !config.refused() {
            complain(format!("takes tables {taken:?}, a person {by_eye:?}"));
        }
        let by_eye = numbers_by_eye(&text, &["priority", "prio", "pref"]);
        let taken: BTreeSet<u32> = found.taken_priorities.iter().copied().collect();
        if taken != by_eye && !config.refused() {
            complain(format!("takes priorities {taken:?}, a person {by_eye:?}"));
        }
        for uplink in &found.uplinks {
            let of_link = config.stanzas.iter().filter(|stanza| stanza.interface == uplink.interface.as_bytes());
            let own = of_link.flat_map(|stanza| &stanza.entries).any(|entry| {
                let value = entry.value.to_string();
                let inet6 = value.contains("-6") || value.contains("::");
                let policy = value.contains(" rule ") || value.contains(" table ") && !value.contains("table main");
                policy && value.contains("ip ") && inet6 == (uplink.family == Family::Inet6)
            });
            let named = text.lines().any(|line| {
                let address = uplink.sources.iter().any(|source| line.contains(&format!("from {}", source.net.addr())));
                line.contains("rule add") && address
            });
            if uplink.hand_written != (own || named) {
                complain(format!("{}: hand-written {}", uplink.label(), uplink.hand_written));
            }
        }
        let plan = plan(find(&config, None, &[], &names), None, &names, None);
        let template = style("iproute2").unwrap();
        let changes = rewrite(&config, &plan, Some(&template)).unwrap();
        for at in plan.policies.iter().map(|policy| policy.uplink) {
            if plan.uplinks[at].hand_written {
                complain(format!("{} is doubled", plan.uplinks[at].label()));
            }
        }
        // What is written goes into stanzas that have none.
        let written = changes.unwrap_or_default().into_iter().map(|change| read(&change.new));
        for stanza in written.flat_map(|config| config.stanzas) {
            if stanza.has_block()
                && stanza.own_options().iter().any(|option| option.value.to_string().contains(" rule "))
            {
                complain(format!("a block beside the rules of {}", stanza.interface));
            }
        }
        let said: Vec<&str> = judge(&config, &names).iter().filter_map(|diagnostic| diagnostic.id).collect();
        for id in &said {
            *counts.entry(id.to_string()).or_insert(0) += 1;
        }
        if config.refused() {
            continue;
        }
        for (_, ids) in expected.iter().filter(|(tag, _)| tags.contains(tag)) {
            for id in ids.iter().filter(|id| !said.contains(*id)) {
                complain(format!("{id} is missing"));
            }
        }
        for (id, tagged) in only {
            if said.contains(&id) && !tagged.iter().any(|tag| tags.contains(tag)) {
                complain(format!("{id} is not in its tags: {tags:?}"));
            }
        }
    }
    eprintln!("{seen} files, {counts:#?}");
    assert!(seen > 0 && wrong.is_empty(), "{} of {seen} files:\n{}", wrong.len(), wrong.join("\n"));
}

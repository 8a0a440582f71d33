//! `symroute config` compared with Debian's `ifquery`, and files before and after symroute-gen.
//!
//! ifquery shows options after the conversions of the method. So that both can be compared, `manual` first replaces
//! every method with conversions, for both readers. SYMROUTE_CORPUS=DIR adds a directory of interfaces files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::Host;

/// A case that needs only the suite.
type Case = fn(&str);

pub const CASES: [(&str, Case); 4] = [
    ("no_case_changes_a_debian_root", no_case_changes_a_debian_root),
    ("config_matches_ifquery", config_matches_ifquery),
    ("rewriting_adds_only_the_block", rewriting_adds_only_the_block),
    ("write_changes_all_files_or_none", write_changes_all_files_or_none),
];

/// All cases of a suite share its root, and run at the same time.
fn no_case_changes_a_debian_root(suite: &str) {
    let host = Host::debian(suite).unwrap();
    let write = |directory: &str| host.run(&format!("touch {directory}/written && rm {directory}/written"));
    for directory in ["", "/etc", "/usr/sbin", "/var/lib", "/root"] {
        let ran = write(directory);
        assert!(!ran.succeeded() && ran.text().contains("Read-only file system"), "'{directory}': {}", ran.text());
    }
    let ran = host.run("chmod a+x /usr/sbin/symroute");
    assert!(!ran.succeeded() && ran.text().contains("Read-only file system"), "{}", ran.text());
    for directory in ["/etc/network", "/etc/systemd", "/run", "/tmp", "/var/tmp"] {
        write(directory).ok();
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Replaces methods with conversions: `iface NAME FAMILY static` becomes `iface NAME FAMILY manual`.
fn without_conversions(bytes: &[u8]) -> Vec<u8> {
    let plain = |line: &[u8]| {
        let text: String = line.iter().map(|b| char::from(*b)).collect();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let converted = matches!(
            words.get(3),
            Some(&("static" | "dhcp" | "auto" | "tunnel" | "v4tunnel" | "6to4" | "ppp" | "wvdial"))
        );
        match (words.first(), words.get(2)) {
            (Some(&"iface"), Some(&"inet" | &"inet6")) if converted => {
                let start = text.rfind(words[3]).unwrap_or_default();
                [&line[..start], b"manual", &line[start + words[3].len()..]].concat()
            }
            _ => line.to_vec(),
        }
    };
    bytes.split_inclusive(|b| *b == b'\n').flat_map(plain).collect()
}

/// Copies a directory without conversions, and returns the names of the files in it.
fn prepare(from: &Path, to: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            prepare(&entry.path(), &target);
        } else {
            fs::write(target, without_conversions(&fs::read(entry.path()).unwrap())).unwrap();
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

fn list(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| list.iter().map(|item| item.as_str().unwrap().to_string()).collect())
        .unwrap_or_default()
}

fn config_matches_ifquery(suite: &str) {
    let host = Host::debian(suite).unwrap();
    let directory = TempDir::new().unwrap();
    let mut files = prepare(&fixtures().join("reading"), directory.path());
    if let Some(corpus) = std::env::var_os("SYMROUTE_CORPUS") {
        files.extend(prepare(Path::new(&corpus), directory.path()));
    }
    host.mount(&format!("mount --bind {} mnt", directory.path().display()));
    let mut differences = Vec::new();
    for file in &files {
        if let Err(difference) = compare(&host, file) {
            differences.push(format!("{file}: {difference}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} files differ:\n{}",
        differences.len(),
        files.len(),
        differences.join("\n")
    );
}

fn compare(host: &Host, file: &str) -> Result<(), String> {
    let path = format!("/mnt/{file}");
    let config = host.run(&format!("symroute config --json -i '{path}'"));
    let ours: Value = serde_json::from_str(&config.stdout()).map_err(|error| error.to_string())?;
    let query = |arguments: &str| {
        host.run(&format!("cd /mnt; mkdir -p /tmp/s; ifquery --no-mappings --state-dir /tmp/s -i '{path}' {arguments}"))
    };
    let listed = query("--list -a");
    let messages = String::from_utf8_lossy(&listed.output.stderr).into_owned();
    let is_rejected = messages.contains("couldn't read interfaces file");
    if is_rejected != (config.code() == 2) {
        return Err(format!(
            "ifquery rejects the file: {is_rejected}, symroute exits with {}\n{messages}",
            config.code()
        ));
    }
    let diagnostics = ours["diagnostics"].as_array().unwrap();
    for line in messages.lines() {
        // `ifquery: FILE:LINE: REASON`. REASON may end with the word that it is about.
        let mut parts = line.splitn(4, ": ");
        let (Some(_), Some(place), Some(reason)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Some((place_file, number)) = place.rsplit_once(':') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        let known = diagnostics.iter().any(|diagnostic| {
            diagnostic["file"] == place_file
                && diagnostic["line"] == number
                && diagnostic["message"].as_str().unwrap().starts_with(reason)
        });
        if !known {
            return Err(format!("ifquery prints '{line}', symroute {diagnostics:#?}"));
        }
    }
    if is_rejected {
        return Ok(());
    }
    let stanzas = ours["stanzas"].as_array().unwrap();
    let unknown: Vec<&str> = messages.lines().filter_map(|line| line.split("unknown interface ").nth(1)).collect();
    for (class, option) in ours["lists"].as_object().unwrap() {
        let names = list(option);
        if names.iter().any(|name| name.contains(['/', '='])) {
            continue;
        }
        let (found, unknown) = match class.strip_prefix("allow-") {
            _ if class == "auto" => (listed.stdout(), unknown.clone()),
            Some(class) => {
                let found = query(&format!("--list --allow='{class}'"));
                (found.stdout(), Vec::new())
            }
            None => continue,
        };
        let known = |name: &&String| {
            unknown.iter().all(|other| other != *name)
                && (class == "auto" || stanzas.iter().any(|stanza| stanza["interface"] == **name))
        };
        let expected: Vec<&str> = names.iter().filter(known).map(String::as_str).collect();
        if found.lines().collect::<Vec<_>>() != expected {
            return Err(format!("{class}: ifquery has {found:?}, symroute {expected:?}"));
        }
    }
    let mut names: Vec<&str> = stanzas.iter().map(|stanza| stanza["interface"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| !name.contains(['/', '=', '\'', '\u{fffd}']) && !name.starts_with('-'))
    {
        let found = query(&format!("'{name}'")).stdout();
        let of_name = stanzas.iter().filter(|stanza| stanza["interface"] == name);
        let options = of_name.flat_map(|stanza| stanza["options"].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_string();
        // The only conversion of `manual`.
        let value = |option: &Value| match option["name"].as_str() {
            Some("hwaddress") => text(&option["value"]).trim_start_matches("ether ").to_string(),
            _ => text(&option["value"]),
        };
        let expected: String =
            options.map(|option| format!("{}: {}\n", text(&option["name"]), value(option))).collect();
        if found != expected {
            return Err(format!("{name}: ifquery has\n{found}symroute\n{expected}"));
        }
    }
    Ok(())
}

/// ifquery prints the same before and after, except for the lines of the block.
fn rewriting_adds_only_the_block(suite: &str) {
    let host = Host::debian(suite).unwrap();
    for name in ["two-uplinks.interfaces", "table-gateway.interfaces", "article.interfaces"] {
        host.write("/tmp/before", &fs::read(fixtures().join(name)).unwrap());
        for style in ["iproute2", "article", "hook"] {
            host.ok(&format!("symroute-gen --style {style} - < /tmp/before > /tmp/after"));
            let query = |file: &str, interface: &str| {
                host.ok(&format!("mkdir -p /tmp/s; ifquery --state-dir /tmp/s -i /tmp/{file} {interface}"))
            };
            let added: Vec<String> = String::from_utf8(host.read("/tmp/after"))
                .unwrap()
                .lines()
                .map(str::trim)
                .fold((false, Vec::new()), |(inside, mut added), line| {
                    let marker = line.starts_with("# symroute:");
                    if inside && !marker {
                        added.push(
                            line.replacen("post-up ", "up: ", 1)
                                .replacen("pre-down ", "down: ", 1)
                                .replacen("metric ", "metric: ", 1),
                        );
                    }
                    (if marker { !inside } else { inside }, added)
                })
                .1;
            assert!(!added.is_empty() || name != "two-uplinks.interfaces");
            for interface in ["lo", "eth0", "eth1"] {
                let after = query("after", interface);
                let rest: String = after
                    .lines()
                    .filter(|line| !added.contains(&line.to_string()))
                    .map(|line| format!("{line}\n"))
                    .collect();
                assert_eq!(rest, query("before", interface), "{name} {style} {interface}");
            }
            assert_eq!(query("after", "--list -a"), query("before", "--list -a"));
        }
    }
}

/// On a full or read-only file system no file changes, even if another file could be written.
fn write_changes_all_files_or_none(suite: &str) {
    let host = Host::debian(suite).unwrap();
    let top = fs::read_to_string(fixtures().join("two-uplinks.interfaces")).unwrap() + "source interfaces.d/*\n";
    let other = "auto eth5\niface eth5 inet static\n address 203.0.113.130/26\n gateway 203.0.113.129\n";
    host.write("/etc/network/interfaces", top.as_bytes());
    let broken = [
        (
            "full",
            "mount -t tmpfs -o size=16k tmpfs etc/network/interfaces.d",
            "dd if=/dev/zero of=etc/network/interfaces.d/.fill 2>/dev/null || true",
            "No space left on device",
        ),
        (
            "read-only",
            "mount -t tmpfs tmpfs etc/network/interfaces.d",
            "mount -o remount,ro etc/network/interfaces.d",
            "Read-only file system",
        ),
    ];
    for (name, mount, damage, reason) in broken {
        host.mount(mount);
        host.write("/etc/network/interfaces.d/eth5", other.as_bytes());
        host.mount(damage);
        let ran = host.run("symroute-gen --write");
        assert_eq!(ran.code(), 2, "{name}: {}", ran.text());
        assert!(ran.text().contains(reason) && ran.text().contains("nothing was written"), "{}", ran.text());
        assert_eq!(host.read("/etc/network/interfaces"), top.as_bytes(), "{name}");
        assert_eq!(host.read("/etc/network/interfaces.d/eth5"), other.as_bytes(), "{name}");
        assert_eq!(
            host.ok("ls -A /etc/network /etc/network/interfaces.d | grep symroute- || true"),
            "",
            "{name}: not removed"
        );
        host.mount("umount etc/network/interfaces.d");
    }
    // The last rename fails. The file that was replaced before gets its old content again.
    host.write("/etc/network/interfaces.d/eth5", other.as_bytes());
    host.mount("mount --bind etc/network/interfaces.d/eth5 etc/network/interfaces.d/eth5");
    let ran = host.run("symroute-gen --write");
    assert_eq!(ran.code(), 2, "{}", ran.text());
    assert!(ran.text().contains("cannot replace /etc/network/interfaces.d/eth5"), "{}", ran.text());
    assert_eq!(host.read("/etc/network/interfaces"), top.as_bytes());
    host.mount("umount etc/network/interfaces.d/eth5");
    host.ok("symroute-gen --write && symroute-gen --check");
}

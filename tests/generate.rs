//! symroute-gen as a program: whole outputs, the three laws over many files, and what it refuses.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use symroute::files::Root;
use symroute::interfaces::{Config, Dialect};
use symroute::policy::plan;
use symroute::rewrite::template::{STYLES, style};
use symroute::rewrite::{Change, rewrite};
use symroute::tables::Names;
use symroute::uplinks::{Layout, find};
use tempfile::TempDir;

fn generate(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_symroute-gen"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An empty root, with an interfaces file and others in it.
fn root(interfaces: &str, others: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("etc/network/interfaces.d")).unwrap();
    for (path, text) in others.iter().chain(&[("etc/network/interfaces", interfaces)]) {
        fs::write(root.path().join(path), text).unwrap();
    }
    root
}

fn in_root(root: &TempDir, arguments: &[&str]) -> Output {
    let path = root.path().to_str().unwrap();
    generate(&[&["--root", path], arguments].concat(), b"")
}

const TWO: &str = include_str!("fixtures/two-uplinks.interfaces");

#[test]
fn the_article_word_for_word() {
    let input = include_bytes!("fixtures/article.interfaces");
    let output = generate(&["--layout", "article", "--style", "article", "-"], input);
    assert_eq!(text(&output.stdout), include_str!("fixtures/article.expected"));
    assert_eq!(output.status.code(), Some(0));
    let back = generate(&["--remove", "-"], &output.stdout);
    assert_eq!(back.stdout, input);
}

#[test]
fn each_style_word_for_word() {
    for (name, _) in STYLES {
        let output = generate(&["--style", name, "-"], TWO.as_bytes());
        let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/two-uplinks.{name}"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &output.stdout).unwrap();
        }
        assert_eq!(text(&output.stdout), fs::read_to_string(expected).unwrap(), "{name}");
    }
}

#[test]
fn writes_checks_and_removes() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(1));
    let shown = in_root(&root, &[]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("+    post-up ip route replace"), "{}", text(&shown.stdout));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO, "shown, not written");
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let written = fs::read(&file).unwrap();
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
    let inode = fs::metadata(&file).unwrap().ino();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    assert_eq!(fs::read(&file).unwrap(), written);
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "a file that has it all is not touched");
    assert_eq!(in_root(&root, &["--check", "--remove"]).status.code(), Some(1));
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
    let left: Vec<_> = fs::read_dir(root.path().join("etc/network")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no lock or temporary file stays: {left:?}");
}

#[test]
fn keeps_mode_and_links_and_writes_every_included_file() {
    let top = "source interfaces.d/*\nauto lo eth0\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1";
    let other = "auto eth1\r\niface eth1 inet static\r\n\taddress 198.51.100.10/24\r\n\tgateway 198.51.100.1\r\n";
    let root = root(top, &[("etc/network/interfaces.d/real", other)]);
    let directory = root.path().join("etc/network/interfaces.d");
    fs::rename(directory.join("real"), root.path().join("etc/eth1")).unwrap();
    symlink("../../eth1", directory.join("eth1")).unwrap();
    fs::set_permissions(root.path().join("etc/eth1"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(directory.join("eth1").is_symlink());
    let written = fs::read_to_string(root.path().join("etc/eth1")).unwrap();
    assert!(written.contains("\t# symroute: end\r\n"), "{written:?}");
    assert!(written.replace("\r\n", "").find('\n').is_none(), "line ends stay as they are");
    assert_eq!(fs::metadata(root.path().join("etc/eth1")).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap();
    assert!(first.contains("\n # symroute: begin") && first.ends_with("# symroute: end"), "{first}");
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap(), top);
    assert_eq!(fs::read_to_string(root.path().join("etc/eth1")).unwrap(), other);
}

#[test]
fn a_new_stanza_renumbers_nothing() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let before = fs::read_to_string(&file).unwrap();
    let more = "auto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n\n";
    fs::write(&file, more.to_string() + &before).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let after = fs::read_to_string(&file).unwrap();
    for line in before.lines() {
        assert!(after.contains(line), "gone: {line}");
    }
    assert!(after.contains("table 3 priority 121"), "{after}");
}

/// A block from before the rules used interface groups is rewritten in its place, with its numbers.
#[test]
fn an_older_block_keeps_its_numbers() {
    let root = root(include_str!("fixtures/three-rules.interfaces"), &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(1));
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let after = fs::read_to_string(&file).unwrap();
    let rules = |text: &str| -> Vec<String> {
        let added = text.lines().filter_map(|line| line.split("|| ").find(|word| word.starts_with("ip rule add")));
        added.map(String::from).collect()
    };
    assert_eq!(
        rules(&after),
        [
            "ip rule add from 192.0.2.10 table main priority 300 suppress_prefixlength 1 suppress_ifgroup 97 protocol 97",
            "ip rule add from 192.0.2.10 table 7 priority 301 protocol 97",
            "ip rule add oif eth0 table 7 priority 303 protocol 97",
            "ip rule add from 198.51.100.10 table main priority 250 suppress_prefixlength 1 suppress_ifgroup 97 protocol 97",
            "ip rule add from 198.51.100.10 table 9 priority 251 protocol 97",
            "ip rule add oif eth1 table 9 priority 253 protocol 97",
        ]
    );
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
}

#[test]
fn what_it_refuses() {
    let eth0 = "auto eth0\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n";
    let eth1 = "auto eth1\niface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n";
    let cases: [(&str, String, &str); 13] = [
        ("misplaced option", format!("{eth0}auto x\n mtu 9000\n{eth1}"), "interfaces:6:2"),
        ("no address type", format!("{eth0}iface eth1 inte static\n"), "interfaces:5:12"),
        ("empty value", format!("{eth0} hostname\n{eth1}"), "interfaces:5:2"),
        ("no address", format!("{eth0}{}", eth1.replace("198.51.100.10/24", "198.51.100.256/24")), "interfaces:7:10"),
        ("no netmask", format!("{eth0}{}", eth1.replace("/24", "/33")), "interfaces:7:10"),
        ("no address", format!("{eth0}{}", eth1.replace("gateway 198.51.100.1", "gateway none")), "interfaces:8:10"),
        (
            "another family",
            format!("{eth0}{}", eth1.replace("gateway 198.51.100.1", "gateway 2001:db8::1")),
            "interfaces:8:10",
        ),
        (
            "its own address",
            format!("{eth0}{}", eth1.replace("gateway 198.51.100.1", "gateway 198.51.100.10")),
            "interfaces:8:2",
        ),
        ("out of range", format!("{eth0}{eth1} symroute-table 4294967296\n"), "interfaces:9:17"),
        ("kernel's own", format!("{eth0}{eth1} symroute-table main\n"), "interfaces:9:17"),
        ("two uplinks", format!("{eth0} symroute-table 7\n{eth1} symroute-table 7\n"), "eth0 inet and eth1 inet"),
        ("both have metric 5", format!("{eth0} metric 5\n{eth1} metric 5\n"), "interfaces:7:"),
        ("has no end", format!("{eth0} # symroute: begin\n{eth1}"), "interfaces:5:2"),
    ];
    for (what, interfaces, place) in cases {
        for arguments in [&["--write"][..], &["--check"], &["--json"], &[]] {
            let root = root(&interfaces, &[]);
            let output = in_root(&root, arguments);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{interfaces}\n{said}");
            assert!(said.contains(what) && said.contains(place), "{what}, {place}:\n{interfaces}\n{said}");
            assert!(said.ends_with("symroute-gen: nothing was written\n"), "{said}");
            assert_eq!(fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap(), interfaces);
        }
    }
}

#[test]
fn stanzas_that_inherit() {
    let eth0 = "auto eth0 eth1\niface eth0 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n mtu 1400\n";
    let heir = "iface eth1 inet static inherits TEMPLATE\n address 198.51.100.10/24\n";
    let template = "iface template inet static\n gateway 198.51.100.1\n";
    let output = generate(&["-"], format!("{template}{eth0}{}", heir.replace("TEMPLATE", "template")).as_bytes());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(said.contains("default via 198.51.100.1 dev eth1 table 2"), "an inherited gateway: {said}");
    let second = heir.replace("TEMPLATE", "eth0") + " gateway 198.51.100.1\n";
    let output = generate(&["-"], format!("{eth0}{second}").as_bytes());
    assert_eq!(output.status.code(), Some(2), "two gateways, one of them inherited");
    let other = "iface eth1 inet static inherits eth0\nauto eth2\niface eth2 inet static\n address 203.0.113.5/24\n gateway 203.0.113.1\n";
    let output = generate(&["-"], format!("{eth0}{other}").as_bytes());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("inherits from it and would run them too"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn all_errors_at_once_and_files_that_cannot_be_read() {
    let output = generate(&["-"], b"iface eth0 inet static\n address x\n gateway y\nauto a\nfoo bar\n");
    let said = text(&output.stderr);
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
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

#[test]
fn a_template_of_ones_own() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mine.j2");
    let with = |template: &str| {
        fs::write(&file, template).unwrap();
        generate(&["--template", file.to_str().unwrap(), "-"], TWO.as_bytes())
    };
    let output =
        with("{% if owner %}post-up logger {{ interface }} {{ family }} {{ table }} {{ gateway }}{% endif %}\n");
    assert!(text(&output.stdout).contains("    post-up logger eth1 inet 2 198.51.100.1\n"), "{}", text(&output.stdout));
    for (wrong, why) in
        [("{% if %}", "mine.j2:1"), ("post-up {{ nonsense }}", "mine.j2:1"), ("iface eth9 inet dhcp", "no option")]
    {
        let output = with(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

/// No files but the one that is given: there is no such root.
fn read(bytes: &[u8]) -> Config {
    let alone = Root::new(Path::new("/nonexistent"));
    Config::parse(Path::new("/etc/network/interfaces"), bytes.to_vec(), &alone, Dialect::Ifupdown)
}

/// Rewritten by a style (none takes the blocks out); nothing where it is refused.
fn rewritten(bytes: &[u8], name: Option<&str>, layout: Layout) -> Option<Vec<u8>> {
    let config = read(bytes);
    let names = Names::default();
    let plan = plan(find(&config, None, &[], &names), None, &names, Some(layout));
    let template = name.map(|name| style(name).unwrap());
    let wrong = |d: &symroute::interfaces::Diagnostic| d.severity == symroute::interfaces::Severity::Error;
    if config.refused()
        || !config.files[0].stray_markers.is_empty()
        || plan.diagnostics.iter().chain(&plan.clashes).any(wrong)
    {
        return None;
    }
    let changes = rewrite(&config, &plan, template.as_ref()).unwrap().ok()?;
    Some(changes.into_iter().next().map_or(bytes.to_vec(), |Change { new, .. }| new))
}

/// What ifupdown would have, less the block's lines.
fn own(bytes: &[u8]) -> Vec<String> {
    let config = read(bytes);
    let stanza = |stanza: &symroute::interfaces::Stanza| {
        let options = stanza.own_options().into_iter().map(|option| format!(" {}={}", option.name, option.value));
        format!("{} {} {}{}", stanza.interface, stanza.family, stanza.method, options.collect::<String>())
    };
    config.stanzas.iter().map(stanza).chain([format!("{:?}", config.lists)]).collect()
}

fn piece() -> impl Strategy<Value = String> {
    let eol = prop_oneof![3 => Just("\n"), 1 => Just("\r\n")];
    let indent = prop_oneof![Just(""), Just("  "), Just("\t"), Just("    ")];
    let number = 0u8..4;
    (number, 0u8..12, indent, eol, any::<bool>()).prop_map(|(n, kind, indent, eol, inet6)| {
        let (family, net, length) =
            if inet6 { ("inet6", format!("2001:db8:{n}::"), 64) } else { ("inet", format!("198.51.{n}."), 24) };
        let stanza = |more: &[String]| {
            let head = format!("iface eth{n} {family} static{eol}");
            let address = [format!("address {net}10/{length}")];
            head + &address.iter().chain(more).map(|line| format!("{indent}{line}{eol}")).collect::<String>()
        };
        match kind {
            0 => format!("auto eth{n}{eol}"),
            1 => format!("{indent}# a comment{eol}"),
            2 => eol.to_string(),
            3..=6 => stanza(&[format!("gateway {net}1")]),
            7 => stanza(&[format!("symroute-gateway {net}1"), "mtu 1400".into()]),
            8 => stanza(&[format!("gateway \\{eol}{net}1"), "up echo a \\\nb".into()]),
            9 => format!("iface eth{n} {family} dhcp{eol}"),
            10 => stanza(&[format!("gateway {net}1"), format!("metric {n}"), "# mine".into(), String::new()]),
            _ => format!("iface eth{n}:1 {family} static{eol}{indent}address {net}11/{length}{eol}"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn the_three_laws(pieces in prop::collection::vec(piece(), 1..9), cut in any::<bool>(), backslash in 0u8..20) {
        let mut file = pieces.concat().into_bytes();
        if cut {
            let end = file.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
            file.truncate(end);
        }
        if backslash == 0 {
            file.extend_from_slice(b"\\");
        }
        for layout in [Layout::Layered, Layout::Article] {
            for (name, _) in STYLES {
                let Some(once) = rewritten(&file, Some(name), layout) else { continue };
                prop_assert_eq!(rewritten(&once, Some(name), layout).map(|twice| text(&twice)), Some(text(&once)));
                let removed = rewritten(&once, None, layout).expect("removable");
                prop_assert_eq!(text(&removed), text(&file));
                prop_assert_eq!(own(&once), own(&file));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_and_given_back(bytes in prop::collection::vec(prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        prop::sample::select(vec!["iface ", "auto ", "eth0 ", "inet ", "static", "\n", "\\\n", "# symroute: begin\n",
            "# symroute: end\n", "mapping ", "script ", "source ", "inherits ", " gateway ", "192.0.2.1", "\r\n", "\0"])
            .prop_map(|s| s.as_bytes().to_vec())], 0..60)) {
        let bytes = bytes.concat();
        let config = read(&bytes);
        prop_assert_eq!(config.files[0].document.bytes(), &bytes[..]);
        rewritten(&bytes, Some("iproute2"), Layout::Layered);
    }
}

/// What is in the two.
type Contents = [Vec<u8>; 2];

/// A root with two files that both need lines, and how they look when written.
fn two_files() -> (TempDir, [PathBuf; 2], Contents, Contents) {
    let other = "auto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n";
    let top = format!("source interfaces.d/*\n{TWO}");
    let directory = root(&top, &[("etc/network/interfaces.d/eth5", other)]);
    let files = ["etc/network/interfaces", "etc/network/interfaces.d/eth5"].map(|file| directory.path().join(file));
    let read = || [fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()];
    let old = read();
    assert_eq!(in_root(&directory, &["--write"]).status.code(), Some(0));
    let new = read();
    assert!(old[0] != new[0] && old[1] != new[1]);
    (directory, files, old, new)
}

#[test]
fn killed_at_any_point_each_file_is_old_or_new() {
    let (root, files, old, new) = two_files();
    let (mut killed, mut kept) = (0, 0);
    for round in 0..150 {
        fs::write(&files[0], &old[0]).unwrap();
        fs::write(&files[1], &old[1]).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_symroute-gen"))
            .args(["--root", root.path().to_str().unwrap(), "--write", "--quiet"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 100));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        for (file, (old, new)) in files.iter().zip(old.iter().zip(&new)) {
            let now = fs::read(file).unwrap();
            assert!(now == *old || now == *new, "neither old nor new: {}", text(&now));
            kept += u32::from(now == *old);
        }
    }
    assert!(killed > 20 && kept > 20, "killed {killed} times, {kept} files old: the delays miss the work");
    // What a killed run leaves behind is read by nobody, and the next run takes it away.
    fs::write(&files[0], &old[0]).unwrap();
    fs::write(&files[1], &old[1]).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    for file in &files {
        let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }
    assert_eq!(fs::read(&files[0]).unwrap(), new[0]);
    assert_eq!(fs::read(&files[1]).unwrap(), new[1]);
}

#[test]
fn writers_at_once() {
    let (root, files, old, new) = two_files();
    for _ in 0..10 {
        fs::write(&files[0], &old[0]).unwrap();
        fs::write(&files[1], &old[1]).unwrap();
        let run = || {
            let output = in_root(&root, &["--write"]);
            let said = text(&output.stderr);
            let beaten =
                said.contains("another symroute-gen is writing") || said.contains("was changed by another program");
            assert!(output.status.code() == Some(0) || output.status.code() == Some(2) && beaten, "{said}");
            output.status.code() == Some(0)
        };
        let won = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).filter(|won| *won).count()
        });
        assert!(won > 0);
        assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], new);
    }
}

#[test]
fn a_file_that_changed_meanwhile_is_not_overwritten() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let path = PathBuf::from("/etc/network/interfaces");
    let change = Change { path, old: b"what it was when it was read".to_vec(), new: b"new".to_vec() };
    let inside = Root::new(root.path());
    let error = symroute::rewrite::store::write(&inside, &[change]).unwrap_err();
    assert!(format!("{error:#}").contains("was changed by another program"), "{error:#}");
    assert_eq!(fs::read_to_string(file).unwrap(), TWO);
}

#[test]
fn owner_and_attributes_stay() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let attributes = xattr::set(&file, "user.note", b"kept").is_ok();
    let chown = nix::unistd::geteuid().is_root() && std::os::unix::fs::chown(&file, Some(12345), Some(54321)).is_ok();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    if chown {
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
    }
    if attributes {
        assert_eq!(xattr::get(&file, "user.note").unwrap().unwrap(), b"kept");
    }
    assert!(chown || attributes, "neither an owner nor an attribute could be set here to see whether it stays");
}

#[test]
fn a_link_out_of_the_root_is_not_followed() {
    let root = root(TWO, &[]);
    let outside = TempDir::new().unwrap();
    let target = outside.path().join("interfaces");
    fs::write(&target, TWO).unwrap();
    let file = root.path().join("etc/network/interfaces");
    fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a link out of the given root"), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&target).unwrap(), TWO);
}

#[test]
fn large_files_and_loops_end() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("interfaces");
    let config = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_symroute"))
            .args(["config", "--quiet", "--json", "-i", file.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let line = format!("iface eth0 inet manual\n up {}\n", "x".repeat(10 << 20));
    assert_eq!(config(line.as_bytes()).0, Some(0), "a line of 10 MB");
    let (code, said) = config(&vec![b'#'; 100 << 20]);
    assert_eq!(code, Some(2), "a file of 100 MB");
    assert!(said.contains("larger than"), "{said}");
    // ifupdown itself never ends here: to it, each turn's name is a new one.
    assert_eq!(config(b"source-directory\nsource ./interfaces\n").0, Some(0), "a file that includes itself");
    let many: String = (0..10_001).map(|n| format!("source f{n}\n")).collect();
    for n in 0..10_001 {
        fs::write(directory.path().join(format!("f{n}")), format!("source f{}\n", n + 1)).unwrap();
    }
    let (code, said) = config(many.as_bytes());
    assert_eq!(code, Some(2), "10,000 files within each other");
    assert!(said.contains("too many files"), "{said}");
}

/// The plan of other shapes of servers, in full.
#[test]
fn plans_word_for_word() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plans");
    let mut seen = 0;
    for entry in
        fs::read_dir(&directory).unwrap().map(Result::unwrap).filter(|entry| entry.path().extension().is_none())
    {
        // Another root than the host's: no kernel is asked.
        let root = root(&fs::read_to_string(entry.path()).unwrap(), &[]);
        let output = Command::new(env!("CARGO_BIN_EXE_symroute"))
            .args(["plan", "--root", root.path().to_str().unwrap()])
            .output()
            .unwrap();
        let said = text(&output.stderr).replace(root.path().to_str().unwrap(), "") + &text(&output.stdout);
        let expected = entry.path().with_extension("plan");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", entry.path().display());
        seen += 1;
    }
    assert_eq!(seen, 9);
}

/// The last run's style and layout stay, for stanzas that are new as well.
#[test]
fn style_and_layout_are_kept() {
    let more = "\nauto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n";
    for style in ["iproute2", "article", "hook"] {
        for layout in ["layered", "article"] {
            let root = root(TWO, &[]);
            let file = root.path().join("etc/network/interfaces");
            let chosen = ["--style", style, "--layout", layout];
            assert_eq!(in_root(&root, &[&["--write"], &chosen[..]].concat()).status.code(), Some(0));
            let written = fs::read_to_string(&file).unwrap();
            assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0), "{style} {layout}");
            assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
            assert_eq!(fs::read_to_string(&file).unwrap(), written, "{style} {layout}");
            fs::write(&file, written + more).unwrap();
            let chosen = in_root(&root, &[&["--json"], &chosen[..]].concat());
            let plain = in_root(&root, &["--json"]);
            assert_eq!(text(&plain.stdout), text(&chosen.stdout), "{style} {layout}");
            // The others are still to be had.
            assert_eq!(
                in_root(&root, &["--write", "--style", "iproute2", "--layout", "layered"]).status.code(),
                Some(0)
            );
            let fresh = text(&generate(&["-"], (TWO.to_string() + more).as_bytes()).stdout);
            assert_eq!(fs::read_to_string(&file).unwrap(), fresh, "{style} {layout}");
        }
    }
}

#[test]
fn a_template_of_ones_own_is_kept() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let template = root.path().join("mine.j2");
    fs::write(&template, "post-up logger {{ interface }} {{ table }}\n# of mine\n").unwrap();
    let path = template.to_str().unwrap();
    assert_eq!(in_root(&root, &["--write", "--template", path]).status.code(), Some(0));
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("post-up logger eth1 2"), "{written}");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
    fs::remove_file(&template).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains(path) && text(&output.stderr).contains("--style"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert_eq!(in_root(&root, &["--remove", "--write"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
}

/// A line of the administrator's inside a block is pointed at, and stays.
#[test]
fn lines_of_others_inside_a_block_are_not_lost() {
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
                let said = text(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{style} {other} {arguments:?}: {said}");
                let place = format!("etc/network/interfaces:{line}:{column}");
                assert!(said.contains("did not write this line") && said.contains(&place), "{place}: {said}");
                assert_eq!(fs::read_to_string(&file).unwrap(), with, "{style} {other}");
            }
        }
    }
}

/// Once a file is written, or the question is answered, a full disk behind the messages changes nothing.
#[test]
fn a_failing_standard_output_does_not_change_the_exit_code() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_symroute-gen"));
        command.args(["--root", root.path().to_str().unwrap()]).args(arguments);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(run(&[]), Some(2), "here, the output is the work");
    assert_eq!(run(&["--check"]), Some(1));
    assert_eq!(run(&["--write"]), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("# symroute: end"));
    assert_eq!(run(&["--check"]), Some(0));
    assert_eq!(run(&["--write", "--remove", "--json"]), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
}

/// A lock on what everybody may open keeps nobody from writing.
#[test]
fn no_lock_of_others_is_in_the_way() {
    let root = root(TWO, &[]);
    let directory = root.path().join("etc/network");
    let locks = [directory.clone(), directory.join("interfaces")].map(|path| {
        let lock = nix::fcntl::FlockArg::LockExclusiveNonblock;
        nix::fcntl::Flock::lock(fs::File::open(path).unwrap(), lock).unwrap()
    });
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    drop(locks);
    // A lock file that a killed run left.
    fs::write(directory.join(".symroute-gen-lock"), "").unwrap();
    assert_eq!(in_root(&root, &["--write", "--remove"]).status.code(), Some(0));
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Who has the file open for writing will write to it: it is left to him.
#[test]
fn a_file_that_is_open_for_writing_is_not_replaced() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let inode = fs::metadata(&file).unwrap().ino();
    let mut editor = fs::File::options().append(true).open(&file).unwrap();
    let output = in_root(&root, &["--write"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("nothing was written") && said.contains("open for writing"), "{said}");
    editor.write_all(b"# saved in place\n").unwrap();
    drop(editor);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{TWO}# saved in place\n"));
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("# saved in place\n"));
}

#[test]
fn one_file_under_two_names_is_named() {
    let (root, files, old, _) = two_files();
    fs::write(&files[0], &old[0]).unwrap();
    fs::write(&files[1], &old[1]).unwrap();
    let outside = root.path().join("etc/eth5");
    let refused = |what: &str| {
        let output = in_root(&root, &["--write"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("nothing was written") && said.contains(what), "{said}");
        assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], old);
    };
    fs::hard_link(&files[1], &outside).unwrap();
    refused("has 2 names (hard links)");
    fs::remove_file(&outside).unwrap();
    symlink("interfaces.d/eth5", files[0].with_file_name("eth5")).unwrap();
    let change = |path: &str| Change { path: path.into(), old: old[1].clone(), new: b"new".to_vec() };
    let twice = ["/etc/network/interfaces.d/eth5", "/etc/network/eth5"].map(change);
    let error = symroute::rewrite::store::write(&Root::new(root.path()), &twice).unwrap_err();
    assert!(format!("{error:#}").contains("are one file"), "{error:#}");
    assert_eq!([fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap()], old);
}

#[test]
fn what_is_no_file_in_a_sourced_directory_is_named() {
    let root = root(&format!("source-directory interfaces.d\n{TWO}"), &[]);
    let fifo = root.path().join("etc/network/interfaces.d/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let output = in_root(&root, &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("cannot read {}: it is a FIFO", fifo.display())), "{said}");
    assert!(said.contains("interfaces:1:"), "{said}");
}

/// What `source` cannot read silently is a warning; the whole path is named.
#[test]
fn sources_that_name_nothing_are_named() {
    for (argument, word) in [("interfaces.d/{a,b}", "'{'"), ("a|b", "'|'"), ("$(ls)", "'$'"), ("f$1", "'$1'")] {
        let root = root(&format!("source {argument}\n{TWO}"), &[]);
        let output = in_root(&root, &["--check"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("reads nothing here") && said.contains(word), "{argument}: {said}");
    }
    let missing = generate(&["--root", "/nonexistent"], b"");
    assert!(
        text(&missing.stderr).contains("cannot read /nonexistent/etc/network/interfaces: "),
        "{}",
        text(&missing.stderr)
    );
}

/// A chain of stanzas that inherit from each other takes memory that grows with the file.
#[test]
fn a_chain_that_inherits_is_small() {
    let links = |n: usize| format!("iface t{n} inet static inherits t{}\n mtu 1400\n", n - 1);
    let chain = "iface t0 inet static\n mtu 1400\n".to_string() + &(1..8000).map(links).collect::<String>();
    let config = read(chain.as_bytes());
    assert!(!config.refused());
    assert_eq!(config.stanzas.last().unwrap().entries.iter().count(), 8000);
    let memory = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = memory.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages < 50_000, "{pages} pages");
    // Dropped without a recursion of that depth.
    let long = "iface t0 inet manual\n".to_string() + &(1..100_000).map(links).collect::<String>();
    drop(Config::parse(Path::new("/f"), long.into(), &Root::new(Path::new("/nonexistent")), Dialect::IfupdownNg));
}

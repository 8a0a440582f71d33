//! The three laws over many files: a second run changes nothing, a removal restores the file, other lines are kept.

use proptest::prelude::*;

use symroute::commands::tables::Names;
use symroute::interfaces::Dialect;
use symroute::policy::plan;
use symroute::rewrite::rewrite;
use symroute::rewrite::template::{STYLES, style};
use symroute::uplinks::{Layout, find};

use super::{laws, read, read_as, text};

/// The file rewritten with a style, or without blocks if there is no style. Nothing if the file is rejected.
fn rewritten(bytes: &[u8], name: Option<&str>, layout: Layout) -> Option<Vec<u8>> {
    rewritten_as(bytes, name, layout, Dialect::Ifupdown)
}

fn rewritten_as(bytes: &[u8], name: Option<&str>, layout: Layout, dialect: Dialect) -> Option<Vec<u8>> {
    let config = read_as(bytes, dialect);
    let names = Names::default();
    let plan = plan(find(&config, None, &[], &names), None, &names, Some(layout));
    let template = name.map(|name| style(name).unwrap());
    let is_error = |d: &symroute::interfaces::Diagnostic| d.severity == symroute::interfaces::Severity::Error;
    if config.is_invalid()
        || !config.files[0].stray_markers.is_empty()
        || plan.diagnostics.iter().chain(&plan.clashes).any(is_error)
    {
        return None;
    }
    let changes = rewrite(&config, &plan, template.as_ref()).unwrap().ok()?;
    Some(changes.first().map_or(bytes.to_vec(), |change| change.new_parts().collect::<Vec<_>>().concat()))
}

/// What ifupdown reads from the file, without the lines of the block.
fn own(bytes: &[u8]) -> Vec<String> {
    let config = read(bytes);
    let stanza = |stanza: &symroute::interfaces::Stanza| {
        let options = config.own_options(stanza).into_iter().map(|option| format!(" {}={}", option.name, option.value));
        format!("{} {} {}{}", stanza.interface, stanza.family, stanza.method, options.collect::<String>())
    };
    config.stanzas.iter().map(stanza).chain([format!("{:?}", config.lists)]).collect()
}

/// A network of interface `n`, and its hosts by their number.
struct Network {
    family: &'static str,
    length: u8,
    host: Box<dyn Fn(u8) -> String>,
}

/// Four parts of the documentation networks.
fn network(n: u8, inet6: bool) -> Network {
    if inet6 {
        return Network { family: "inet6", length: 64, host: Box::new(move |host| format!("2001:db8:{n}::{host}")) };
    }
    let net = ["192.0.2", "198.51.100", "203.0.113", "192.0.2"][usize::from(n)];
    Network { family: "inet", length: 26, host: Box::new(move |host| format!("{net}.{}", 64 * n + host)) }
}

fn piece() -> impl Strategy<Value = String> {
    piece_of(0u8..4, 0u8..12)
}

/// One of `kinds`, of one of the interfaces `numbers`.
fn piece_of(numbers: impl Strategy<Value = u8>, kinds: impl Strategy<Value = u8>) -> impl Strategy<Value = String> {
    let eol = prop_oneof![3 => Just("\n"), 1 => Just("\r\n")];
    let indent = prop_oneof![Just(""), Just("  "), Just("\t"), Just("    ")];
    (numbers, kinds, indent, eol, any::<bool>()).prop_map(|(n, kind, indent, eol, inet6)| {
        let Network { family, length, host } = &network(n, inet6);
        let (address, alias, gateway) = (host(10), host(11), host(1));
        let stanza = |more: &[String]| {
            let head = format!("iface eth{n} {family} static{eol}");
            let address = [format!("address {address}/{length}")];
            head + &address.iter().chain(more).map(|line| format!("{indent}{line}{eol}")).collect::<String>()
        };
        match kind {
            0 => format!("auto eth{n}{eol}"),
            1 => format!("{indent}# a comment{eol}"),
            2 => eol.to_string(),
            3..=6 => stanza(&[format!("gateway {gateway}")]),
            7 => stanza(&[format!("symroute-gateway {gateway}"), "mtu 1400".into()]),
            8 => stanza(&[format!("gateway \\{eol}{gateway}"), "up echo a \\\nb".into()]),
            9 => format!("iface eth{n} {family} dhcp{eol}"),
            10 => stanza(&[format!("gateway {gateway}"), format!("metric {n}"), "# mine".into(), String::new()]),
            _ => format!("iface eth{n}:1 {family} static{eol}{indent}address {alias}/{length}{eol}"),
        }
    })
}

/// A stanza of one of three interfaces, with an address, a gateway, both or neither.
fn repeated() -> impl Strategy<Value = String> {
    (0u8..3, 0u8..12, any::<bool>(), 10u8..13).prop_map(|(n, kind, inet6, host)| {
        let Network { family, length, host: of } = &network(n, inet6);
        let (gateway, other_gateway) = (of(1), of(2));
        let head = format!("auto eth{n}\niface eth{n} {family}");
        let address = format!("    address {}/{length}\n", of(host));
        match kind {
            0..=3 => format!("{head} static\n{address}    gateway {gateway}\n"),
            4..=5 => format!("{head} static\n    gateway {gateway}\n"),
            6..=8 => format!("{head} static\n{address}"),
            9 => format!("{head} dhcp\n"),
            10 => format!("{head} dhcp\n    metric {host}\n"),
            _ => format!("auto eth{n}:1\niface eth{n}:1 {family} static\n{address}    gateway {other_gateway}\n"),
        }
    })
}

/// Two uplinks, so that lines are written, and other pieces in any order.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let uplink = |n| piece_of(Just(n), 3u8..11);
    let others = prop::collection::vec(piece(), 0..6);
    (uplink(0), uplink(1), others)
        .prop_map(|(first, second, others)| [vec![first, second], others].concat())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_three_laws(pieces in pieces(), cut in any::<bool>(), backslash in 0u8..20) {
        let mut file = pieces.concat().into_bytes();
        if cut {
            let end = file.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
            file.truncate(end);
        }
        if backslash == 0 {
            file.extend_from_slice(b"\\");
        }
        let before = own(&file);
        for layout in [Layout::Layered, Layout::Article] {
            for (name, _) in STYLES {
                let Some(once) = rewritten(&file, Some(name), layout) else { continue };
                prop_assert_eq!(rewritten(&once, Some(name), layout).map(|twice| text(&twice)), Some(text(&once)));
                let removed = rewritten(&once, None, layout).expect("removable");
                prop_assert_eq!(text(&removed), text(&file));
                prop_assert_eq!(own(&once), before.clone());
            }
        }
    }
}

proptest! {
    /// The inputs of the fuzzer, for machines without it: every dialect, and files that `source` reads.
    #[test]
    fn the_laws_hold_for_any_files(parts in prop::collection::vec(prop_oneof![
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        4 => prop::sample::select(vec!["iface ", "auto ", "eth0", "inet ", "static", "\n", "\\\n", "# symroute: begin\n",
            "# symroute: end\n", "mapping ", "script ", " inherits ", " gateway ", "192.0.2.1", "\r\n", "\0"])
            .prop_map(|text| text.as_bytes().to_vec()),
        4 => piece().prop_map(String::into_bytes),
        1 => Just(b"\nsource interfaces.d/*\n".to_vec()),
        1 => prop::sample::select(vec!["\nsource f1\n", "\nsource-directory interfaces.d\n", "\nsource interfaces\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
        2 => Just(vec![laws::SEPARATOR])], 0..30)) {
        laws::hold(&parts.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    /// In every dialect, with several stanzas for one interface, in any order.
    #[test]
    fn a_second_write_changes_nothing(pieces in prop::collection::vec(repeated(), 1..8)) {
        let file = pieces.concat().into_bytes();
        for dialect in [Dialect::Ifupdown, Dialect::IfupdownNg, Dialect::Ifupdown2] {
            for (layout, (name, _)) in [Layout::Layered, Layout::Article].into_iter().flat_map(|layout| STYLES.map(|style| (layout, style))) {
                let Some(once) = rewritten_as(&file, Some(name), layout, dialect) else { continue };
                let twice = rewritten_as(&once, Some(name), layout, dialect).unwrap_or_default();
                prop_assert!(once == twice, "{:?} {}:\n{}\n{}", dialect, name, text(&once), text(&twice));
                let removed = rewritten_as(&once, None, layout, dialect).expect("removable");
                prop_assert_eq!(text(&removed), text(&file));
            }
        }
    }
}

/// The test above writes lines into several files, in each dialect.
#[test]
fn the_laws_test_written_files() {
    let stanza = |n: u8| {
        let (gateway, address) = (16 * n + 1, 16 * n + 2);
        format!(
            "auto eth{n}\niface eth{n} inet static\n    address 192.0.2.{address}/28\n    gateway 192.0.2.{gateway}\n"
        )
    };
    // `hook` writes only a metric for two of three. ifupdown-ng reads no pattern after `source`, ifupdown2 no
    // directory.
    for line in ["source interfaces.d/*", "source-directory interfaces.d"] {
        let separator = char::from(laws::SEPARATOR);
        let files = format!("{line}\n{}{separator}{}{separator}{}", stanza(1), stanza(2), stanza(3));
        assert_eq!(laws::hold(files.as_bytes()), 2 * (3 + 3 + 2), "{line}");
    }
}

/// One block with the lines of two uplinks: a stanza of ifupdown-ng with two gateways.
#[test]
fn the_laws_hold_for_two_gateways_in_a_stanza() {
    let stanza = "iface eth0\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n";
    assert!(laws::hold(stanza.as_bytes()) >= STYLES.len());
}

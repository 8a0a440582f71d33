//! Warnings, each whole.

use super::*;

/// Each warning, whole.
fn messages(text: &str) -> Vec<String> {
    let found = find(&config(text, Dialect::Ifupdown), None, &[], &Names::default());
    found.diagnostics.iter().map(|diagnostic| format!("{}: {}", diagnostic.message, diagnostic.help)).collect()
}

#[test]
fn mistakes_of_manual_policy_routing_are_reported() {
    let lines = " up ip rule add from 198.51.100.10 table 7 priority 70\n down ip rule del priority 70\n";
    let manual = messages(&format!("{TWO}{lines}"));
    assert_eq!(manual.len(), 1, "{manual:?}");
    assert!(
        manual[0].contains("manual policy routing in this stanza") && manual[0].contains("silence this warning"),
        "{manual:?}"
    );
    assert_eq!(messages(&format!("{TWO} symroute no\n{lines}")), [""; 0]);
    // A block that lost a marker looks the same.
    for marker in ["begin", "end"] {
        let damaged = messages(&format!("{TWO} # symroute: {marker}\n{lines}"));
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(
            !damaged[0].contains("in this stanza;") && damaged[0].contains("Restore the missing marker"),
            "{damaged:?}"
        );
    }
    // In the stanza of another interface, which is named; `symroute no` has an effect in the uplink's own only.
    let elsewhere = messages(&format!("{TWO} up ip rule add from 192.0.2.10 table 7\n down ip rule del priority 70\n"));
    assert!(
        elsewhere[0]
            .starts_with("eth0 (IPv4): manual policy routing in the stanza of eth1; symroute skips this uplink")
            && elsewhere[0].contains("add 'symroute no' to the stanza of eth0 (IPv4)"),
        "{elsewhere:?}"
    );
    // In another stanza, it has nothing to do with it.
    let other_interface = TWO.replace("iface eth1", " # symroute: begin\niface eth1");
    assert!(messages(&format!("{other_interface}{lines}"))[0].contains("manual policy routing in this stanza"));
}

#[test]
fn no_number_is_proposed_that_is_in_use() {
    use crate::handwritten::lint_with;
    use crate::policy::InUse;
    let proposed = |text: &str, before: &str, in_use: &[u32]| {
        let numbers = || in_use.iter().copied().collect();
        let in_use = InUse { priorities: numbers(), tables: numbers() };
        let found = lint_with(&config(text, Dialect::Ifupdown), &Names::default(), &in_use);
        let help = found.iter().map(|diagnostic| diagnostic.help.clone()).find(|help| help.contains(before));
        help.unwrap_or_default().split(before).nth(1).unwrap_or_default()[..3].to_string()
    };
    let rule = " up ip rule add from 198.51.100.10 table";
    let leak = format!("{TWO}{rule} 7\n up ip route add default via 198.51.100.1 table 7\n");
    assert_eq!(proposed(&leak, "priority ", &[]), "100");
    assert_eq!(proposed(&leak, "priority ", &[100, 110]), "120");
    let unknown = format!("{TWO}{rule} isp-b\n");
    assert_eq!(proposed(&unknown, "echo '", &[]), "101");
    assert_eq!(proposed(&unknown, "echo '", &[101, 102]), "103");
}

#[test]
fn options_without_effect_are_told() {
    let warnings = |stanza: &str| messages(&format!("{TWO}auto eth2\niface eth2 {stanza}")).join("\n");
    let lan = "inet static\n address 203.0.113.1/24\n";
    for option in ["symroute yes", "symroute-table 7", "symroute-priority 300", "symroute-layout article"] {
        let warning = warnings(&format!("{lan} {option}\n"));
        assert!(warning.starts_with(&format!("'{option}' has no effect: the stanza of eth2 has")), "{warning:?}");
        assert_eq!(warning.lines().count(), 1);
        // Where there is a gateway, or may be one later.
        for (more, method) in [
            (" gateway 203.0.113.254\n metric 30\n", "static"),
            (" symroute-gateway 203.0.113.254\n", "static"),
            (" up ip route add default via 203.0.113.254 metric 30\n", "static"),
            (" symroute no\n", "static"),
            ("", "dhcp"),
        ] {
            let stanza = format!("{lan} {option}\n{more}").replace("static", method);
            let stanza = if more.contains("symroute no") { stanza.replace(" symroute yes\n", "") } else { stanza };
            assert_eq!(warnings(&stanza), "", "{stanza}");
        }
    }
    // A gateway that ifupdown does not use.
    let manual = warnings("inet manual\n gateway 203.0.113.254\n symroute yes\n");
    assert!(manual.contains("'symroute yes' has no effect"), "{manual:?}");
    // What others inherit; and of two stanzas of one interface, that without the gateway.
    let template = messages(
        &format!("iface common inet static\n symroute yes\n{TWO}")
            .replace("eth1 inet static", "eth1 inet static inherits common"),
    );
    assert_eq!(template, [""; 0]);
    let second = messages(&format!("{TWO}iface eth1 inet static\n address 198.51.100.11/24\n symroute-table 9\n"));
    assert!(second[0].contains("'symroute-table 9' has no effect"), "{second:?}");
}

#[test]
fn no_metric_is_proposed_that_another_uplink_has() {
    let stanza = |n: u8, metric: u32| {
        format!(
            "iface eth{n} inet static\n address 192.0.2.{0}/28\n gateway 192.0.2.{1}\n metric {metric}\n",
            16 * n + 2,
            16 * n + 1
        )
    };
    let text = format!("auto eth0 eth1 eth2 eth3\n{}{}{}{}", stanza(0, 5), stanza(1, 5), stanza(2, 5), stanza(3, 15));
    let names = Names::default();
    let plan = crate::policy::plan(find(&config(&text, Dialect::Ifupdown), None, &[], &names), None, &names, None);
    let proposed: Vec<&str> = plan.clashes.iter().filter_map(|clash| clash.help.split("example ").nth(1)).collect();
    assert_eq!(proposed, ["25.", "35."]);
}

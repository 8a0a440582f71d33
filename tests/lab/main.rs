//! Real packets through real ifupdown: the laboratory's cases, on each Debian suite.
//!
//! symroute acts; ping, socat and iproute2 judge. A case that cannot run here (no Debian root, no
//! namespaces) is reported as ignored, with the reason; with SYMROUTE_NOTHING_IGNORED=1 it fails.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod check;
mod explain;
mod failing;
mod handwritten;
mod judge;
mod layout;
mod networks;
mod oracle;
mod shapes;
mod trouble;
mod uplinks;
mod ways;
mod world;

use libtest_mimic::{Arguments, Trial};

use trouble::*;
use ways::*;
use world::World;

pub const PLAIN: &str = include_str!("../fixtures/two-uplinks.interfaces");

pub const WITH_METRIC: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");

pub const TABLE_GATEWAY: &str = include_str!("../fixtures/table-gateway.interfaces");

pub const NATIVE: &str = include_str!("../fixtures/native.interfaces");

/// Debian's own ifupdown twice, and its relatives.
const SUITES: [&str; 4] = ["bookworm", "trixie", "bookworm-ng", "bookworm-ifupdown2"];

/// Cases that need what an implementation does not have; docs/interfaces.md tells users.
const WITHOUT: [(&str, &[&str]); 2] = [
    (
        "bookworm-ng",
        &[
            // `auto eth0=wan`, mappings, patterns, `source` with a pattern.
            "shape_logical_names",
            "shape_mapping",
            "shape_patterns",
            "shape_spread_over_files",
            "chosen_at_run_time",
            "check_findings_of_logical_names",
            "noted_links_and_aliases",
            // `ifdown eth1:1` takes the whole interface down.
            "the_rule_of_an_interface_stays",
            // Two default routes without `metric` do not fail; its root has no DHCP client.
            "a_lease_",
            "check_findings_of_dhcp",
            "check_findings_of_metrics",
            // Its default routes are not `onlink`, and the page shows that they are.
            "explains_the_server",
            // Its `down` lines come when the addresses are gone, and must not fail.
            "shape_alias_and_added_address",
            "shape_halved_default_routes",
            "beside_an_ifdown",
            // Two default routes without `metric` do not fail.
            "broken_two_gateway_lines",
            "writes_all_or_nothing",
            "rewriting_adds_our_lines_alone",
            "reads_as_ifquery_does",
        ],
    ),
    (
        "bookworm-ifupdown2",
        &[
            "shape_logical_names",
            "shape_mapping",
            "shape_patterns",
            "shape_spread_over_files",
            "chosen_at_run_time",
            "check_findings_of_logical_names",
            "check_findings_of_dhcp",
            "check_findings_of_metrics",
            "beside_an_ifdown",
            "broken_two_gateway_lines",
            "rewriting_adds_our_lines_alone",
            "reads_as_ifquery_does",
            // It takes no altname for an interface.
            "shape_alternative_names",
            // `metric` is for both families: the second uplink would be IPv6's first.
            "broken_with_metric_alone",
            "forwarded_traffic_beside_many_addresses",
            // Its root has no DHCP client.
            "a_lease_",
            // Neither aliases nor logical names.
            "noted_links_and_aliases",
            "the_rule_of_an_interface_stays",
            "what_is_taken_away_is_missed_and_fixed",
            // `ifup --force --ignore-errors`
            "hooks_again_and_out_of_order",
        ],
    ),
];

/// Cases in which no ifup has a part, or none that differs: on Debian's own alone.
const WHOEVER_UPS: [&str; 16] = [
    "a_network_by_advertisements",
    "a_table_that_everybody_looks_up",
    "interface_groups",
    "local_addresses_behind",
    "no_packet_is_lost_from_the_rules_before",
    "a_refused_change_is_taken_back",
    "beside_many_foreign_rules_and_routes",
    // There, a gateway of any family is right in any stanza.
    "bad_input_changes_nothing",
    "killed_at_any_point",
    "ten_uplinks",
    "thousands_of_addresses",
    "explains_dead_nexthops_and_other_packets",
    "no_packet_is_lost_while_numbers_change",
    "twenty_hooks_at_once",
    "up_and_down_by_name",
    "without_privileges",
];

fn is_without(suite: &str, case: &str) -> bool {
    // Half a minute of kernel time, and always the same kernel.
    suite == "bookworm" && case == "beside_many_foreign_rules_and_routes"
        || suite.contains('-') && WHOEVER_UPS.contains(&case)
        || WITHOUT.iter().any(|(other, cases)| *other == suite && cases.iter().any(|without| case.starts_with(without)))
}

type Case = fn(&World);

/// A case with as many more providers.
type CountedCase = fn(&World, usize);

/// Files as ifupdown-ng and ifupdown2 have them.
const NATIVE_CASES: &[(&str, Case)] = &[
    ("native_lines", native_lines),
    ("native_hooks", native_hooks),
    ("reads_as_its_ifquery_does", reads_as_its_ifquery_does),
];

const CASES: &[(&str, Case)] = &[
    ("check_findings_of_dhcp", check::uplinks::findings_of_dhcp),
    ("check_findings_of_a_host_without_symroute", check::policy::findings_of_a_host_without_symroute),
    ("check_findings_of_what_is_left", check::policy::findings_of_what_is_left),
    ("check_findings_of_the_article_layout", check::policy::findings_of_the_article_layout),
    ("check_findings_of_metrics", check::uplinks::findings_of_metrics),
    ("check_findings_of_metrics_inet6", check::uplinks::findings_of_metrics_inet6),
    ("check_findings_of_logical_names", check::uplinks::findings_of_logical_names),
    ("check_findings_of_aliases", check::uplinks::findings_of_aliases),
    ("check_findings_of_policy_by_hand", check::policy::findings_of_policy_by_hand),
    ("check_findings_of_filters", check::beside::findings_of_filters),
    ("check_findings_of_sockets", check::beside::findings_of_sockets),
    ("check_findings_of_policy", check::policy::findings_of_policy),
    ("check_findings_of_foreign_rules", check::policy::findings_of_foreign_rules),
    ("check_findings_of_foreign_routes", check::policy::findings_of_foreign_routes),
    ("check_findings_of_a_vpn", check::policy::findings_of_a_vpn),
    ("check_findings_of_links", check::uplinks::findings_of_links),
    ("check_findings_of_a_duplicate_address", check::uplinks::findings_of_a_duplicate_address),
    ("check_findings_of_an_address_twice", check::uplinks::findings_of_an_address_twice),
    ("check_findings_of_lookups", check::lookups::findings_of_lookups),
    ("check_findings_of_foreign_tables", check::lookups::findings_of_foreign_tables),
    ("check_findings_of_the_hosts_own_addresses", check::lookups::findings_of_the_hosts_own_addresses),
    ("check_expects_what_rules_by_group_do", check::lookups::expects_what_rules_by_group_do),
    ("check_asks_for_an_address", check::asks_for_an_address),
    ("check_quiet_beside_others", check::quiet_beside_others),
    ("numbers", numbers),
    ("cards_come_and_go", cards_come_and_go),
    ("status_at_a_glance", status_at_a_glance),
    ("no_packet_is_lost_while_numbers_change", no_packet_is_lost_while_numbers_change),
    ("beside_an_ifdown", beside_an_ifdown),
    ("chosen_at_run_time", chosen_at_run_time),
    ("routers_by_advertisement", uplinks::routers_by_advertisement),
    ("defaults_by_a_script", uplinks::defaults_by_a_script),
    ("a_default_route_of_no_uplink", uplinks::a_default_route_of_no_uplink),
    ("noted_links_and_aliases", uplinks::noted_links_and_aliases),
    ("a_renamed_link", uplinks::a_renamed_link),
    ("the_rule_of_an_interface_stays", uplinks::the_rule_of_an_interface_stays),
    ("a_lease_without_its_default_route", uplinks::a_lease_without_its_default_route),
    ("a_lease_and_a_fixed_address", uplinks::a_lease_and_a_fixed_address),
    ("addresses_on_other_interfaces", uplinks::addresses_on_other_interfaces),
    ("two_nics_in_one_subnet", shapes::two_nics_in_one_subnet),
    ("containers_and_a_tunnel", shapes::containers_and_a_tunnel),
    ("broken_two_gateway_lines", broken_two_gateway_lines),
    ("broken_with_metric_alone", broken_with_metric_alone),
    ("routed_machines_in_a_providers_network", layout::routed_machines_in_a_providers_network),
    ("forwarded_traffic_beside_many_addresses", layout::forwarded_traffic_beside_many_addresses),
    ("thousands_of_addresses", layout::thousands_of_addresses),
    ("routes_through_a_gateway", layout::routes_through_a_gateway),
    ("a_lan_with_a_backup_router", layout::a_lan_with_a_backup_router),
    ("a_table_that_everybody_looks_up", layout::a_table_that_everybody_looks_up),
    ("local_addresses_behind", layout::local_addresses_behind),
    ("a_network_by_advertisements", layout::a_network_by_advertisements),
    ("a_network_that_appears", layout::a_network_that_appears),
    ("further_networks_on_the_uplinks", layout::further_networks_on_the_uplinks),
    ("further_networks_by_lines", layout::further_networks_by_lines),
    ("interface_groups", layout::interface_groups),
    ("no_packet_is_lost_from_the_rules_before", layout::no_packet_is_lost_from_the_rules_before),
    ("lines", lines),
    ("lines_with_hooks_too", lines_with_hooks_too),
    ("lines_for_the_table_alone", lines_for_the_table_alone),
    ("lines_are_safe_to_run_twice", lines_are_safe_to_run_twice),
    ("article", article),
    ("article_layout_through_hooks", article_layout_through_hooks),
    ("hooks", hooks),
    ("strict_reverse_path_filter", strict_reverse_path_filter),
    ("hooks_again_and_out_of_order", hooks_again_and_out_of_order),
    ("hooks_keep_the_other_uplink", hooks_keep_the_other_uplink),
    ("what_is_taken_away_is_missed_and_fixed", what_is_taken_away_is_missed_and_fixed),
    ("bad_input_changes_nothing", bad_input_changes_nothing),
    ("a_refused_change_is_taken_back", a_refused_change_is_taken_back),
    ("a_broken_program_harms_nothing", failing::a_broken_program_harms_nothing),
    ("a_failed_hook_harms_nothing", failing::a_failed_hook_harms_nothing),
    ("up_and_down_by_name", up_and_down_by_name),
    ("twenty_hooks_at_once", twenty_hooks_at_once),
    ("without_privileges", without_privileges),
    ("read_only_proc", read_only_proc),
    ("what_happens_to_a_running_server", what_happens_to_a_running_server),
    ("killed_at_any_point", killed_at_any_point),
    ("beside_many_foreign_rules_and_routes", beside_many_foreign_rules_and_routes),
    ("explains_the_server", explain::explains_the_server),
    ("explains_in_json", explain::explains_in_json),
    ("explains_dead_nexthops_and_other_packets", explain::explains_dead_nexthops_and_other_packets),
];

/// A case, or the reason why it cannot run here.
fn trial(name: String, missing: Option<&str>, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    let nothing_ignored = std::env::var_os("SYMROUTE_NOTHING_IGNORED").is_some();
    match missing.map(str::to_string) {
        Some(reason) => Trial::test(name, move || Err(reason.into())).with_ignored_flag(!nothing_ignored),
        None => Trial::test(name, move || Ok(run()?)),
    }
}

fn main() {
    if let Ok(seed) = std::env::var(explain::INSIDE) {
        match explain::inside(&seed) {
            Ok(text) => println!("{text}"),
            Err(text) => {
                println!("{text}");
                std::process::exit(1);
            }
        }
        return;
    }
    let mut arguments = Arguments::from_args();
    // A case waits for packets most of the time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads = arguments.test_threads.or(Some(4 * cores));
    let mut trials = Vec::new();
    let missing = World::possible().err();
    let run = || {
        explain::explain_agrees_with_the_kernel();
        Ok(())
    };
    trials.push(trial("explain_agrees_with_the_kernel".to_string(), missing.as_deref(), run));
    for suite in SUITES {
        let missing = World::available(suite).err();
        if let Some(reason) = &missing {
            eprintln!("The cases on {suite} are ignored: {reason}");
        }
        let mut add = |name: &str, run: Box<dyn Fn() -> Result<(), String> + Send>| {
            if !is_without(suite, name) {
                trials.push(trial(format!("{suite}::{name}"), missing.as_deref(), run));
            }
        };
        for (name, case) in oracle::CASES.into_iter().chain(handwritten::HOST_CASES) {
            add(
                name,
                Box::new(move || {
                    case(suite);
                    Ok(())
                }),
            );
        }
        let counted: [(&str, usize, CountedCase); 3] = [
            ("three_uplinks", 3, many_uplinks),
            ("ten_uplinks", 10, many_uplinks),
            ("two_gateways_on_one_bridge", 2, two_gateways_on_one_bridge),
        ];
        for (name, count, case) in counted {
            add(
                name,
                Box::new(move || {
                    case(&World::with_providers(suite, count)?, count);
                    Ok(())
                }),
            );
        }
        for (name, shape) in shapes::SHAPES {
            for way in shape.ways() {
                let run = move || {
                    shapes::run(&World::new(suite)?, shape, way);
                    Ok(())
                };
                add(&format!("shape_{name}_{way:?}").to_lowercase(), Box::new(run));
            }
        }
        let own = if suite.contains('-') { NATIVE_CASES } else { &handwritten::CASES };
        for &(name, case) in CASES.iter().chain(own) {
            add(
                name,
                Box::new(move || {
                    case(&World::new(suite)?);
                    Ok(())
                }),
            );
        }
        if suite == "trixie" {
            add(
                "uplinks_go_where_main_goes",
                Box::new(move || {
                    networks::uplinks_go_where_main_goes(suite);
                    Ok(())
                }),
            );
            add(
                "check_findings_of_networkmanager",
                Box::new(move || {
                    check::beside::findings_of_networkmanager(&World::new(suite)?);
                    Ok(())
                }),
            );
            // networkd drops its privileges to a user of its own: that takes more than a user namespace has.
            let unprivileged = (!nix::unistd::geteuid().is_root()).then_some("systemd-networkd needs root");
            let run = move || {
                check::beside::findings_of_networkd(&World::new(suite)?);
                Ok(())
            };
            let name = format!("{suite}::check_findings_of_networkd");
            trials.push(trial(name, missing.as_deref().or(unprivileged), run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

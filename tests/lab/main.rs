//! The cases of the test lab: real packets through real ifupdown, on each Debian suite.
//!
//! ping, socat and iproute2 check what symroute has done. If a case cannot run here (no Debian root, no namespaces), it
//! is ignored, with the reason. With SYMROUTE_NOTHING_IGNORED=1 it fails.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod agent;
mod apply;
mod autoconf;
mod check;
mod dhcp;
mod explain;
mod failing;
mod faults;
mod handwritten;
mod host;
mod judge;
mod layout;
mod lease_changes;
mod leases;
mod methods;
mod netlink;
mod networks;
mod observe;
mod oracle;
mod point_to_point;
mod providers;
mod random;
mod routers;
mod shapes;
mod tunnel;
mod uplinks;
mod watch;
mod world;

use std::sync::Mutex;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use world::World;

pub const PLAIN: &str = include_str!("../fixtures/two-uplinks.interfaces");

pub const WITH_METRIC: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");

pub const TABLE_GATEWAY: &str = include_str!("../fixtures/table-gateway.interfaces");

pub const NATIVE: &str = include_str!("../fixtures/native.interfaces");

/// Debian's own ifupdown in two versions, ifupdown-ng and ifupdown2.
const SUITES: [&str; 4] = ["bookworm", "trixie", "bookworm-ng", "bookworm-ifupdown2"];

/// Cases that need a feature which an ifupdown does not have. docs/interfaces.md describes the differences.
const WITHOUT: [(&str, &[&str]); 2] = [
    (
        "bookworm-ng",
        &[
            // It has other options for tunnels.
            "a_tunnel_broker_is_an_uplink",
            // It has other options for pppd, or none.
            "ppp_is_an_uplink",
            // No `auto eth0=wan`, mappings, patterns or `source` with a pattern.
            "shape_logical_names",
            "shape_mapping",
            "shape_patterns",
            "parallel_ifups_install_all_rules",
            "shape_spread_over_files",
            "stanzas_chosen_at_run_time_are_uplinks",
            "check_findings_of_logical_names",
            "an_alias_removes_only_its_address",
            // `ifdown eth1:1` stops the whole interface.
            "two_uplinks_share_the_rule_of_an_interface",
            // Two default routes without `metric` do not fail. Its root has no DHCP client.
            "a_lease_",
            "autoconf_",
            "check_findings_of_dhcp",
            "check_findings_of_dhcp_routers",
            "check_findings_of_metrics",
            // It keeps several default routes of one metric.
            "check_findings_of_metrics_inet6",
            // Its default routes are not `onlink`, but the page shows `onlink`.
            "explain_shows_each_rule",
            // Its `down` lines run after the addresses are removed, and must not fail.
            "shape_alias_and_added_address",
            "shape_halved_default_routes",
            "no_event_restores_rules_during_an_ifdown",
            // Two default routes without `metric` do not fail.
            "two_gateway_lines_fail_without_metric",
            "write_changes_all_files_or_none",
            "rewriting_adds_only_the_block",
            "config_matches_ifquery",
        ],
    ),
    (
        "bookworm-ifupdown2",
        &[
            "shape_logical_names",
            "shape_mapping",
            "shape_patterns",
            "parallel_ifups_install_all_rules",
            // It has other options for tunnels.
            "a_tunnel_broker_is_an_uplink",
            // It has other options for pppd, or none.
            "ppp_is_an_uplink",
            "shape_spread_over_files",
            "stanzas_chosen_at_run_time_are_uplinks",
            "check_findings_of_logical_names",
            "check_findings_of_dhcp",
            "check_findings_of_dhcp_routers",
            "check_findings_of_metrics",
            // It keeps several default routes of one metric.
            "check_findings_of_metrics_inet6",
            "no_event_restores_rules_during_an_ifdown",
            "two_gateway_lines_fail_without_metric",
            "rewriting_adds_only_the_block",
            "config_matches_ifquery",
            // It does not accept an altname as an interface.
            "shape_alternative_names",
            // `metric` applies to both families: the second uplink would be the first one of IPv6.
            "a_metric_alone_does_not_route_replies",
            "many_addresses_keep_forwarded_traffic",
            // Its root has no DHCP client.
            "a_lease_",
            "autoconf_",
            // It has neither aliases nor logical names.
            "an_alias_removes_only_its_address",
            "two_uplinks_share_the_rule_of_an_interface",
            "apply_restores_each_missing_entry",
            // It has no `ifup --force --ignore-errors`.
            "hooks_run_twice_and_in_any_order",
        ],
    ),
];

/// Cases that do not depend on the ifupdown: they run on Debian's own only.
const DEBIAN_ONLY: [&str; 20] = [
    "watch_repairs",
    "watch_does_not_fight",
    "watch_survives_lost_events",
    "apply_works_while_foreign_rules_change",
    "write_rejects_a_mount_point",
    "a_rejected_change_is_rolled_back",
    "apply_keeps_many_foreign_rules_and_routes",
    // The others accept a gateway of any family in any stanza.
    "invalid_files_change_nothing",
    "the_next_run_repairs_a_killed_run",
    "interface_names_have_any_bytes",
    "ten_uplinks_are_reached",
    "thousands_of_addresses_need_few_rules",
    "hundreds_of_addresses",
    "explain_shows_dead_nexthops",
    "no_packet_is_lost_while_numbers_change",
    "twenty_hooks_run_at_once",
    // The second `ifup` of the others does not fail.
    "commands_of_the_readme_make_routing_symmetric",
    "flush_runs_after_a_lost_ssh_session",
    "up_and_down_take_interface_names",
    "commands_without_privileges_change_nothing",
];

fn is_without(suite: &str, case: &str) -> bool {
    // The kernel is the same in each suite, and packets do not depend on the ifupdown.
    suite != "trixie" && case.starts_with("observe_")
        || suite == "bookworm" && case == "apply_keeps_many_foreign_rules_and_routes"
        || suite.contains('-') && DEBIAN_ONLY.contains(&case)
        || WITHOUT.iter().any(|(other, cases)| *other == suite && cases.iter().any(|without| is_named(without, case)))
}

/// Each method of a shape is a case. A name that ends in `_` stands for all cases that begin with it.
fn is_named(name: &str, case: &str) -> bool {
    match case.strip_prefix(name) {
        Some("") => true,
        Some("_lines" | "_hooks") => name.starts_with("shape_"),
        rest => rest.is_some() && name.ends_with('_'),
    }
}

type Case = fn(&World);

/// A case with this number of further providers.
type CountedCase = fn(&World, usize);

/// Files in the native syntax of ifupdown-ng and ifupdown2.
const NATIVE_CASES: &[(&str, Case)] = &[
    ("native_files_work_with_lines", methods::native::native_files_work_with_lines),
    ("native_files_work_with_hooks", methods::native::native_files_work_with_hooks),
    ("native_config_matches_ifquery", methods::native::native_config_matches_ifquery),
];

const CASES: &[(&str, Case)] = &[
    ("check_findings_of_dhcp", check::uplinks::findings_of_dhcp),
    ("check_findings_of_dhcp_routers", check::uplinks::findings_of_a_router_of_a_lease),
    ("check_findings_of_a_host_without_symroute", check::policy::findings_of_a_host_without_symroute),
    ("check_findings_of_stale_entries", check::policy::findings_of_stale_entries),
    ("check_findings_of_the_article_layout", check::policy::findings_of_the_article_layout),
    ("check_findings_of_metrics", check::uplinks::findings_of_metrics),
    ("check_findings_of_metrics_inet6", check::uplinks::findings_of_metrics_inet6),
    ("check_findings_of_logical_names", check::uplinks::findings_of_logical_names),
    ("check_findings_of_aliases", check::uplinks::findings_of_aliases),
    ("check_findings_of_manual_policy", check::policy::findings_of_manual_policy),
    ("check_findings_of_filters", check::environment::findings_of_filters),
    ("check_findings_of_sockets", check::environment::findings_of_sockets),
    ("check_findings_of_policy", check::policy::findings_of_policy),
    ("check_findings_of_foreign_rules", check::policy::findings_of_foreign_rules),
    ("check_findings_of_foreign_routes", check::policy::findings_of_foreign_routes),
    ("check_findings_of_a_vpn", check::policy::findings_of_a_vpn),
    ("check_findings_of_links", check::uplinks::findings_of_links),
    ("check_findings_of_a_duplicate_address", check::uplinks::findings_of_a_duplicate_address),
    ("check_findings_of_an_address_on_two_interfaces", check::uplinks::findings_of_an_address_on_two_interfaces),
    ("check_findings_of_lookups", check::lookups::findings_of_lookups),
    ("check_findings_of_foreign_tables", check::lookups::findings_of_foreign_tables),
    ("check_findings_of_the_hosts_own_addresses", check::lookups::findings_of_the_hosts_own_addresses),
    ("check_expects_the_routes_of_rules_by_group", check::lookups::expects_the_routes_of_rules_by_group),
    ("check_looks_up_a_given_address", check::looks_up_a_given_address),
    ("check_no_finding_with_other_tools", check::no_finding_with_other_tools),
    ("lookups_show_a_missing_rule", methods::hooks::lookups_show_a_missing_rule),
    ("uplinks_keep_their_tables_and_priorities", methods::numbers::uplinks_keep_their_tables_and_priorities),
    ("interfaces_are_removed_and_added", apply::events::interfaces_are_removed_and_added),
    ("status_shows_each_state", apply::status::status_shows_each_state),
    ("no_packet_is_lost_while_numbers_change", apply::concurrency::no_packet_is_lost_while_numbers_change),
    ("hooks_skip_an_interface_during_its_ifdown", apply::concurrency::hooks_skip_an_interface_during_its_ifdown),
    ("a_lease_watch_remembers_the_router", watch::a_lease_watch_remembers_the_router),
    ("watch_survives_lost_events", watch::watch_survives_lost_events),
    ("no_event_restores_rules_during_an_ifdown", apply::concurrency::no_event_restores_rules_during_an_ifdown),
    ("stanzas_chosen_at_run_time_are_uplinks", apply::events::stanzas_chosen_at_run_time_are_uplinks),
    ("advertised_routers_are_gateways", uplinks::advertised_routers_are_gateways),
    ("uplinks_by_advertisement", routers::uplinks_by_advertisement),
    ("autoconf_preferences_of_routers", autoconf::preferences_of_routers),
    ("autoconf_another_router", autoconf::another_router),
    ("autoconf_another_network", autoconf::another_network),
    ("autoconf_network_behind_the_router", autoconf::network_behind_the_router),
    ("autoconf_addresses_by_dhcpv6", autoconf::addresses_by_dhcpv6),
    ("autoconf_of_dhcpcd", autoconf::of_dhcpcd),
    ("autoconf_temporary_addresses", autoconf::temporary_addresses),
    ("hundreds_of_addresses", routers::hundreds_of_addresses),
    ("default_routes_of_a_script_make_uplinks", uplinks::default_routes_of_a_script_make_uplinks),
    ("check_reports_a_default_route_without_uplink", uplinks::check_reports_a_default_route_without_uplink),
    ("routes_to_all_global_addresses_make_uplinks", uplinks::routes_to_all_global_addresses_make_uplinks),
    ("an_alias_removes_only_its_address", uplinks::an_alias_removes_only_its_address),
    ("a_renamed_interface_stays_an_uplink", uplinks::a_renamed_interface_stays_an_uplink),
    ("interface_names_have_any_bytes", uplinks::interface_names_have_any_bytes),
    ("two_uplinks_share_the_rule_of_an_interface", uplinks::two_uplinks_share_the_rule_of_an_interface),
    ("a_lease_keeps_its_uplink_without_default_route", uplinks::a_lease_keeps_its_uplink_without_default_route),
    ("a_lease_beside_a_default_route", leases::a_lease_beside_a_default_route),
    ("watch_repairs", watch::watch_repairs),
    ("watch_beside_ifupdown", watch::watch_beside_ifupdown),
    ("watch_does_not_fight", watch::watch_does_not_fight),
    ("watch_survives_random_events", watch::watch_survives_random_events),
    ("a_lease_changes_with_dhclient", lease_changes::of_dhclient),
    ("a_lease_changes_with_dhclient_and_metric", lease_changes::of_dhclient_with_a_metric),
    ("a_lease_changes_with_dhclient_on_primary", lease_changes::of_dhclient_on_the_primary_uplink),
    ("a_lease_changes_with_dhclient_and_watch", lease_changes::of_dhclient_beside_watch),
    ("a_lease_changes_with_dhclient_and_fixed", lease_changes::of_dhclient_beside_a_fixed_address),
    ("a_lease_changes_with_dhcpcd", lease_changes::of_dhcpcd),
    ("a_lease_changes_with_dhcpcd_and_fixed", lease_changes::of_dhcpcd_beside_a_fixed_address),
    ("a_lease_changes_with_udhcpc", lease_changes::of_udhcpc),
    ("a_lease_changes_with_udhcpc_and_watch", lease_changes::of_udhcpc_beside_watch),
    ("a_lease_of_udhcpc_with_a_gateway", lease_changes::of_udhcpc_with_a_gateway_in_the_stanza),
    ("a_lease_of_a_hostile_server_with_dhclient", lease_changes::of_dhclient_from_a_hostile_server),
    ("a_lease_of_a_hostile_server_with_dhcpcd", lease_changes::of_dhcpcd_from_a_hostile_server),
    ("hooks_of_clients_harm_no_client", leases::hooks_of_clients_harm_no_client),
    ("a_lease_and_a_fixed_address_share_an_interface", uplinks::a_lease_and_a_fixed_address_share_an_interface),
    ("addresses_on_other_interfaces_use_their_uplink", uplinks::addresses_on_other_interfaces_use_their_uplink),
    ("two_interfaces_share_a_subnet", shapes::topologies::two_interfaces_share_a_subnet),
    ("containers_and_a_tunnel_keep_their_routes", shapes::topologies::containers_and_a_tunnel_keep_their_routes),
    ("two_gateway_lines_fail_without_metric", methods::documents::two_gateway_lines_fail_without_metric),
    ("a_metric_alone_does_not_route_replies", methods::documents::a_metric_alone_does_not_route_replies),
    ("routed_machines_keep_their_routes", layout::routes::routed_machines_keep_their_routes),
    ("many_addresses_keep_forwarded_traffic", layout::addresses::many_addresses_keep_forwarded_traffic),
    ("thousands_of_addresses_need_few_rules", layout::addresses::thousands_of_addresses_need_few_rules),
    ("separated_customers_are_reached", layout::routes::separated_customers_are_reached),
    ("a_routed_block_uses_the_uplink_of_its_stanza", layout::routes::a_routed_block_uses_the_uplink_of_its_stanza),
    ("static_routes_apply_to_one_uplink", layout::routes::static_routes_apply_to_one_uplink),
    ("a_lan_with_a_backup_router_is_an_uplink", layout::routes::a_lan_with_a_backup_router_is_an_uplink),
    ("a_table_for_all_packets_is_used", layout::routes::a_table_for_all_packets_is_used),
    ("local_addresses_are_reached_without_rule_0", layout::routes::local_addresses_are_reached_without_rule_0),
    ("advertised_networks_are_reached", layout::networks::advertised_networks_are_reached),
    ("a_new_network_is_reached", layout::networks::a_new_network_is_reached),
    ("apply_copies_further_networks", layout::networks::apply_copies_further_networks),
    ("lines_copy_further_networks", layout::networks::lines_copy_further_networks),
    ("apply_sets_interface_groups", layout::groups::apply_sets_interface_groups),
    ("lines_set_interface_groups", layout::groups::lines_set_interface_groups),
    ("lines_of_an_earlier_version_are_replaced", layout::upgrade::lines_of_an_earlier_version_are_replaced),
    ("no_packet_is_lost_during_an_upgrade", layout::upgrade::no_packet_is_lost_during_an_upgrade),
    ("lines_make_routing_symmetric", methods::lines::lines_make_routing_symmetric),
    ("lines_and_hooks_work_together", methods::lines::lines_and_hooks_work_together),
    ("lines_use_a_gateway_for_its_table_only", methods::lines::lines_use_a_gateway_for_its_table_only),
    ("lines_are_safe_to_run_twice", methods::lines::lines_are_safe_to_run_twice),
    ("article_lines_give_the_listings_of_the_article", methods::lines::article_lines_give_the_listings_of_the_article),
    ("hooks_install_the_article_layout", methods::hooks::hooks_install_the_article_layout),
    ("hooks_make_routing_symmetric", methods::hooks::hooks_make_routing_symmetric),
    (
        "commands_of_the_readme_make_routing_symmetric",
        methods::documents::commands_of_the_readme_make_routing_symmetric,
    ),
    ("flush_runs_after_a_lost_ssh_session", methods::documents::flush_runs_after_a_lost_ssh_session),
    ("disabled_hooks_change_nothing", methods::documents::disabled_hooks_change_nothing),
    ("strict_reverse_path_filters_drop_nothing", methods::hooks::strict_reverse_path_filters_drop_nothing),
    ("hooks_run_twice_and_in_any_order", methods::hooks::hooks_run_twice_and_in_any_order),
    ("hooks_keep_connections_of_the_other_uplink", methods::hooks::hooks_keep_connections_of_the_other_uplink),
    ("apply_restores_each_missing_entry", apply::status::apply_restores_each_missing_entry),
    ("invalid_files_change_nothing", apply::rejections::invalid_files_change_nothing),
    ("a_rejected_change_is_rolled_back", apply::rejections::a_rejected_change_is_rolled_back),
    ("a_broken_program_does_not_stop_ifup", failing::a_broken_program_does_not_stop_ifup),
    ("a_failed_hook_does_not_stop_ifup", failing::a_failed_hook_does_not_stop_ifup),
    ("an_error_affects_only_its_uplink", faults::an_error_affects_only_its_uplink),
    ("down_works_with_invalid_files", faults::down_works_with_invalid_files),
    ("a_rejected_route_affects_only_its_uplink", faults::a_rejected_route_affects_only_its_uplink),
    ("parallel_ifups_install_all_rules", faults::parallel_ifups_install_all_rules),
    ("apply_works_while_foreign_rules_change", faults::apply_works_while_foreign_rules_change),
    ("write_rejects_a_mount_point", faults::write_rejects_a_mount_point),
    ("apply_works_with_full_outputs_and_fifos", faults::apply_works_with_full_outputs_and_fifos),
    ("a_tunnel_broker_is_an_uplink", tunnel::a_tunnel_broker_is_an_uplink),
    ("ppp_is_an_uplink", point_to_point::ppp_is_an_uplink),
    ("hooks_of_pppd_harm_no_pppd", point_to_point::hooks_of_pppd_harm_no_pppd),
    ("a_tunnel_without_a_gateway_is_an_uplink", point_to_point::a_tunnel_without_a_gateway_is_an_uplink),
    (
        "a_default_route_without_a_gateway_makes_an_uplink",
        point_to_point::a_default_route_without_a_gateway_makes_an_uplink,
    ),
    ("lines_of_the_article_without_a_gateway", point_to_point::lines_of_the_article_without_a_gateway),
    ("apply_removes_only_its_own_rules", faults::apply_removes_only_its_own_rules),
    ("up_and_down_take_interface_names", apply::events::up_and_down_take_interface_names),
    ("twenty_hooks_run_at_once", apply::concurrency::twenty_hooks_run_at_once),
    ("commands_without_privileges_change_nothing", apply::rejections::commands_without_privileges_change_nothing),
    ("apply_works_with_read_only_proc", apply::rejections::apply_works_with_read_only_proc),
    ("apply_follows_changes_of_a_running_server", apply::events::apply_follows_changes_of_a_running_server),
    ("the_next_run_repairs_a_killed_run", apply::concurrency::the_next_run_repairs_a_killed_run),
    ("apply_keeps_many_foreign_rules_and_routes", apply::events::apply_keeps_many_foreign_rules_and_routes),
    ("explain_shows_each_rule", explain::explain_shows_each_rule),
    ("explain_json_has_the_keys_of_iproute2", explain::explain_json_has_the_keys_of_iproute2),
    ("explain_shows_dead_nexthops", explain::explain_shows_dead_nexthops),
    ("observe_replies_through_the_default_route", observe::asymmetry::replies_leave_through_the_default_route),
    ("observe_a_foreign_source", observe::asymmetry::a_foreign_source_is_sent),
    ("observe_the_articles_rule", observe::asymmetry::the_articles_rule_cuts_off_the_lan),
    ("observe_a_wildcard_socket", observe::asymmetry::a_wildcard_socket_replies_from_another_address),
    ("observe_translated_connections", observe::asymmetry::translated_connections_lose_their_uplink),
    ("observe_marks_and_bound_sockets", observe::asymmetry::marks_and_bound_sockets),
    ("observe_hosts_behind", observe::asymmetry::hosts_behind_the_server),
    ("observe_two_gateways", observe::asymmetry::two_gateways_on_one_interface),
    ("observe_a_macvlan", observe::asymmetry::a_macvlan_beside_its_parent),
    ("observe_a_fixed_translation", observe::asymmetry::a_fixed_translation),
    ("observe_strict_filters", observe::asymmetry::strict_filters_drop_requests),
    ("observe_a_vpn", observe::asymmetry::a_vpn_takes_the_default_route),
    ("observe_what_cannot_be_observed", observe::bad::what_cannot_be_observed),
    ("observe_without_privileges", observe::bad::the_capture_program_has_no_privileges),
    ("observe_an_interface_that_disappears", observe::bad::an_interface_disappears),
    ("observe_writes_packets", observe::bad::packets_are_written),
    ("observe_on_a_full_disk", observe::bad::a_disk_is_full),
    ("observe_malformed_packets", observe::bad::malformed_packets_are_counted),
    ("observe_tags_and_fragments", observe::bad::tags_extension_headers_and_fragments),
    ("observe_findings", observe::bad::faults_are_findings),
    ("observe_healthy_traffic", observe::healthy::traffic_of_all_kinds),
    ("observe_a_connection_that_began_before", observe::healthy::a_connection_that_began_before),
    ("observe_a_million_packets", observe::load::a_million_packets),
    ("observe_two_interfaces_in_one_network", observe::asymmetry::packets_arrive_through_the_other_interface),
];

/// The slowest cases, the slowest first. They start first, so that no slow case runs alone at the end.
const FIRST: [&str; 23] = [
    "observe_a_million_packets",
    "thousands_of_addresses_need_few_rules",
    "a_lease_changes_with_dhcpcd",
    "a_lease_changes_with_dhclient",
    "a_lease_changes_with_dhclient_and_metric",
    "a_lease_changes_with_dhclient_and_fixed",
    "check_findings_of_policy",
    "check_findings_of_a_duplicate_address",
    "hooks_keep_connections_of_the_other_uplink",
    "ten_uplinks_are_reached",
    "parallel_ifups_install_all_rules",
    "warnings_of_manual_policy_are_correct",
    "lines_copy_further_networks",
    "a_lan_with_a_backup_router_is_an_uplink",
    "two_interfaces_share_a_subnet",
    "many_addresses_keep_forwarded_traffic",
    "a_broken_program_does_not_stop_ifup",
    "lookups_follow_the_main_table",
    "apply_works_while_foreign_rules_change",
    "apply_keeps_many_foreign_rules_and_routes",
    "symroute_reads_commands_as_ip_does",
    "the_next_run_repairs_a_killed_run",
    "explain_agrees_with_the_kernel",
];

/// The cases that ran, with their seconds.
static TIMES: Mutex<Vec<(f64, String)>> = Mutex::new(Vec::new());

fn timed(name: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), Failed> {
    let begin = Instant::now();
    let result = run();
    if let Ok(mut times) = TIMES.lock() {
        times.push((begin.elapsed().as_secs_f64(), name.to_string()));
    }
    Ok(result?)
}

/// Prints the slowest cases of a long run.
fn print_slowest() {
    let Ok(mut times) = TIMES.lock() else { return };
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    if times.len() > 20 {
        println!("Slowest cases:");
        times.iter().take(15).for_each(|(seconds, name)| println!("{seconds:7.1} s  {name}"));
    }
}

/// A case, or the reason why it cannot run here.
fn trial(name: String, missing: Option<&str>, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    let nothing_ignored = std::env::var_os("SYMROUTE_NOTHING_IGNORED").is_some();
    match missing.map(str::to_string) {
        Some(reason) => Trial::test(name, move || Err(reason.into())).with_ignored_flag(!nothing_ignored),
        None => Trial::test(name.clone(), move || timed(&name, run)),
    }
}

/// Why a case cannot run without root: a program that changes its user needs a namespace with several users.
fn without_root(case: &str) -> Option<&'static str> {
    (case.contains("dhcpcd") && !nix::unistd::geteuid().is_root()).then_some("dhcpcd needs root")
}

fn main() {
    agent::serve_if_agent();
    let explained = std::env::var(explain::kernel::INSIDE).ok().map(|seed| explain::kernel::inside(&seed));
    if let Some(result) = explained.or_else(|| std::env::var_os(netlink::INSIDE).map(|_| netlink::inside())) {
        match result {
            Ok(text) => println!("{text}"),
            Err(text) => {
                println!("{text}");
                std::process::exit(1);
            }
        }
        return;
    }
    let mut arguments = Arguments::from_args();
    // A case mostly waits for packets.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads = arguments.test_threads.or(Some(8 * cores));
    let mut trials = Vec::new();
    let missing = World::can_start().err();
    let run = || {
        explain::kernel::explain_agrees_with_the_kernel();
        Ok(())
    };
    trials.push(trial("explain_agrees_with_the_kernel".to_string(), missing.as_deref(), run));
    let run = || {
        netlink::netlink_removes_and_restores_what_ip_adds();
        Ok(())
    };
    trials.push(trial("netlink_removes_and_restores_what_ip_adds".to_string(), missing.as_deref(), run));
    for suite in SUITES {
        let missing = World::available(suite).err();
        if let Some(reason) = &missing {
            eprintln!("The cases on {suite} are ignored: {reason}");
        }
        let mut add = |name: &str, run: Box<dyn Fn() -> Result<(), String> + Send>| {
            if !is_without(suite, name) {
                let missing = missing.as_deref().or(without_root(name));
                trials.push(trial(format!("{suite}::{name}"), missing, run));
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
            ("three_uplinks_are_reached", 3, methods::numbers::many_uplinks),
            ("ten_uplinks_are_reached", 10, methods::numbers::many_uplinks),
            ("two_gateways_share_a_bridge", 2, methods::numbers::two_gateways_share_a_bridge),
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
        for (name, shape) in shapes::all() {
            for method in shape.methods() {
                let run = move || {
                    shapes::run(&World::new(suite)?, shape, method);
                    Ok(())
                };
                add(&format!("shape_{name}_{method:?}").to_lowercase(), Box::new(run));
            }
        }
        let of_suite = if suite.contains('-') { NATIVE_CASES } else { &handwritten::CASES };
        for &(name, case) in CASES.iter().chain(of_suite) {
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
                "lookups_follow_the_main_table",
                Box::new(move || {
                    networks::lookups_follow_the_main_table(suite);
                    Ok(())
                }),
            );
            add(
                "check_findings_of_networkmanager",
                Box::new(move || {
                    check::environment::findings_of_networkmanager(&World::new(suite)?);
                    Ok(())
                }),
            );
            // networkd changes to a user of its own. A user namespace of an ordinary user has only one user.
            let unprivileged = (!nix::unistd::geteuid().is_root()).then_some("systemd-networkd needs root");
            let cases: [(&str, Case); 2] = [
                ("check_findings_of_networkd", check::environment::findings_of_networkd),
                ("watch_repairs_what_networkd_removes", watch::watch_repairs_what_networkd_removes),
            ];
            for (name, case) in cases {
                let run = move || {
                    case(&World::new(suite)?);
                    Ok(())
                };
                trials.push(trial(format!("{suite}::{name}"), missing.as_deref().or(unprivileged), run));
            }
        }
    }
    let place = |trial: &Trial| {
        let case = trial.name().rsplit("::").next().unwrap_or_default();
        FIRST.iter().position(|first| *first == case).unwrap_or(FIRST.len())
    };
    trials.sort_by_key(place);
    let conclusion = libtest_mimic::run(&arguments, trials);
    print_slowest();
    conclusion.exit();
}

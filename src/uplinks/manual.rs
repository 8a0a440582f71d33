//! Uplinks that an administrator's lines of policy routing serve: symroute skips them.

use std::borrow::Cow;
use std::net::IpAddr;

use bstr::BStr;
use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::by_network::ByNetwork;
use super::collector::UplinkCollector;
use super::uplink::Uplink;
use crate::commands::lines::Line;
use crate::interfaces::{Config, Diagnostic, Severity, Stanza};
use crate::network::Family;

struct PolicyLine<'a> {
    /// Index into `Config::stanzas`.
    stanza: usize,
    inet6: bool,
    from: Option<IpNet>,
    via: Option<IpAddr>,
    /// The kernel's name of the interface.
    dev: Option<Cow<'a, str>>,
}

/// The lines of policy routing that an `ifup` runs, in file order, with their positions by what makes them serve an uplink.
#[derive(Default)]
struct PolicyLines<'a> {
    all: Vec<PolicyLine<'a>>,
    by_stanza: FxHashMap<usize, Vec<usize>>,
    by_source: ByNetwork<Vec<usize>>,
    by_gateway: FxHashMap<IpAddr, Vec<usize>>,
}

impl<'a> PolicyLines<'a> {
    fn push(&mut self, line: PolicyLine<'a>) {
        let position = self.all.len();
        self.by_stanza.entry(line.stanza).or_default().push(position);
        if let Some(from) = line.from {
            self.by_source.push(from, position);
        }
        if let Some(via) = line.via {
            self.by_gateway.entry(via).or_default().push(position);
        }
        self.all.push(line);
    }

    /// The first line in the uplink's stanza, with its address, or with its gateway.
    fn first_for(&self, uplink: &Uplink) -> Option<&PolicyLine<'a>> {
        let first = |positions: &Vec<usize>, serves: &dyn Fn(&PolicyLine) -> bool| {
            let is_of_family = |line: &PolicyLine| line.inet6 == (uplink.family == Family::Inet6);
            positions.iter().copied().find(|at| is_of_family(&self.all[*at]) && serves(&self.all[*at]))
        };
        // The address and gateway of a lease are not known here: all lines of its stanza count as its own.
        let is_own = |line: &PolicyLine| uplink.dynamic || line.from.is_none() && line.via.is_none();
        let is_through = |line: &PolicyLine| line.dev.as_ref().is_none_or(|dev| *dev == uplink.interface);
        let own = self.by_stanza.get(&uplink.stanza).and_then(|lines| first(lines, &is_own));
        let sources = uplink.sources.iter().flat_map(|source| self.by_source.containing(source.net.addr().into()));
        let named = sources.filter_map(|lines| first(lines, &|_| true));
        let gateway = uplink.gateway.address().and_then(|gateway| self.by_gateway.get(&gateway));
        let through = gateway.and_then(|lines| first(lines, &is_through));
        own.into_iter().chain(named).chain(through).min().map(|at| &self.all[at])
    }
}

impl UplinkCollector<'_> {
    /// Policy routing makes an uplink manual if it is in its stanza, names its address, or uses its gateway.
    pub(crate) fn mark_manual(&mut self, uplinks: &mut [Uplink]) {
        let mut lines = PolicyLines::default();
        let policy = |line: &&Line| line.phase.is_up() && line.is_policy(self.names);
        for Line { stanza, command, .. } in self.lines.iter().filter(policy) {
            lines.push(PolicyLine {
                stanza: *stanza,
                inet6: command.inet6,
                from: command.prefix("from").filter(|from| from.prefix_len() > 0),
                via: command.address("via"),
                dev: command.get("dev").map(|dev| self.interface_of(BStr::new(dev))),
            });
        }
        for uplink in uplinks {
            if let Some(line) = lines.first_for(uplink) {
                uplink.is_manual = true;
                let is_requested = uplink.overrides.enabled == Some(false);
                self.diagnostics.extend((!is_requested).then(|| manual(self.config, uplink, line.stanza)));
            }
        }
    }
}

/// The warning about manual policy routing, or about the marker that caused it.
fn manual(config: &Config, uplink: &Uplink, stanza: usize) -> Diagnostic {
    let is_own = stanza == uplink.stanza;
    let stanza = &config.stanzas[stanza];
    if let Some(marker) = damaged_block(config, stanza) {
        let label = uplink.label();
        let what = format!("{}; symroute treats the policy routing of {label} as manual and skips it", marker.message);
        return Diagnostic { severity: Severity::Warning, message: what, ..marker.clone() };
    }
    let manual_stanza = match is_own {
        true => "this stanza".to_string(),
        false if stanza.interface == uplink.interface[..] => format!("another stanza of {}", uplink.interface),
        false => format!("the stanza of {}", stanza.interface),
    };
    // `symroute no` has an effect in the uplink's stanza only.
    let own_stanza = if is_own { manual_stanza.clone() } else { format!("the stanza of {}", uplink.label()) };
    Diagnostic::warning(
        stanza.location.unwrap_or(uplink.location),
        &stanza.interface,
        format!("{}: manual policy routing in {manual_stanza}; symroute skips this uplink", uplink.label()),
        format!(
            "Remove these 'ip rule' and 'ip route ... table' lines to let symroute manage the uplink. Or keep them, \
             and add 'symroute no' to {own_stanza} to silence this warning."
        ),
    )
}

/// A marker without its partner between the stanza's first line and the next stanza.
fn damaged_block<'a>(config: &'a Config, stanza: &Stanza) -> Option<&'a Diagnostic> {
    let start = stanza.location?;
    let markers = &config.files.get(start.file())?.stray_markers;
    if markers.is_empty() {
        return None;
    }
    let starts =
        config.stanzas.iter().filter_map(|other| other.location).filter(|location| location.file() == start.file());
    let end = starts.map(|location| location.line()).filter(|line| *line > start.line()).min();
    let is_inside = |line: usize| line > start.line() && end.is_none_or(|end| line < end);
    markers.iter().find(|marker| marker.location.is_some_and(|location| is_inside(location.line())))
}

//! Options of symroute that have no effect: their stanza is not an uplink.

use bstr::ByteSlice;
use rustc_hash::FxHashSet;

use super::collector::UplinkCollector;
use super::stanza::{is_point_to_point, makes_default};
use super::uplink::Uplink;
use crate::interfaces::config::MergedOption;
use crate::interfaces::{AddressFamily, Diagnostic, Stanza};

impl UplinkCollector<'_> {
    /// One warning for each stanza that has options of symroute but no gateway.
    pub(crate) fn unused_options(&self, uplinks: &[Uplink]) -> Vec<Diagnostic> {
        let names = self.config.names(|name| name.starts_with(b"symroute"));
        if names.is_empty() {
            return Vec::new();
        }
        let of_uplinks: FxHashSet<usize> =
            uplinks.iter().flat_map(|uplink| uplink.same_gateway.iter().chain([&uplink.stanza])).copied().collect();
        let stanzas = self.config.stanzas.iter().enumerate().filter(|(index, _)| !of_uplinks.contains(index));
        let unused = stanzas.filter_map(|(_, stanza)| {
            self.config.entries_named(stanza, &names).next()?;
            let options = self.config.own_options(stanza);
            let option = options.iter().find(|option| is_request(option))?;
            let is_off = options.iter().any(|option| option.name == "symroute" && option.value == "no");
            (!is_off && !self.may_be_uplink(stanza, &options)).then(|| without_gateway(stanza, option))
        });
        unused.collect()
    }

    /// Other warnings report a gateway that is not used.
    fn may_be_uplink(&self, stanza: &Stanza, options: &[MergedOption]) -> bool {
        let is_dynamic = stanza.method == "dhcp" || stanza.family == AddressFamily::Inet6 && stanza.method == "auto";
        let is_gateway = |option: &MergedOption| match &option.name[..] {
            b"symroute-gateway" => true,
            b"gateway" => makes_default(self.config.dialect, stanza, &option.value),
            _ => false,
        };
        is_dynamic
            || is_point_to_point(stanza)
            || options.iter().any(is_gateway)
            || self.only_a_template(stanza.interface.as_bstr())
    }
}

fn is_request(option: &MergedOption) -> bool {
    match &option.name[..] {
        b"symroute" => option.value == "yes",
        name => matches!(name, b"symroute-table" | b"symroute-priority" | b"symroute-layout"),
    }
}

fn without_gateway(stanza: &Stanza, option: &MergedOption) -> Diagnostic {
    let interface = &stanza.interface;
    let line = format!("{} {}", option.name, option.value);
    Diagnostic::warning(
        option.location,
        &option.name,
        format!("'{line}' has no effect: the stanza of {interface} has no gateway"),
        "Add 'symroute-gateway ADDRESS' with the router's address, or remove this line.",
    )
}

//! The default route of the main table: one uplink of each family is primary, the others need larger metrics.

use rustc_hash::{FxHashMap, FxHashSet};

use super::plan::{Plan, is_managed};
use crate::commands::SameMetric;
use crate::interfaces::{Diagnostic, Severity};
use crate::network::Family;
use crate::uplinks::{Origin, Uplink};

impl Plan {
    /// Selects the primary uplink of each family. `unset_metrics` are the metrics of IPv4 and IPv6 routes without a
    /// `metric`; with `one_metric`, an interface has one metric for both families.
    pub(super) fn choose_primaries(&mut self, unset_metrics: [u32; 2], one_metric: bool) {
        let families = Family::ALL.into_iter().zip(unset_metrics);
        let mut shared = one_metric.then(|| {
            let primaries = families.clone().filter_map(|(family, unset)| self.primary_by_stanzas(family, unset));
            let least = primaries.map(|primary| primary.metric).max().unwrap_or(0);
            SharedMetrics { least, of_interfaces: FxHashMap::default() }
        });
        for (family, unset) in families {
            self.choose_primary(family, unset, shared.as_mut());
        }
    }

    /// Uplinks whose stanza adds a default route to the main table. (The kernel sets the metrics of routes from router
    /// advertisements.)
    fn with_default(&self, family: Family) -> Vec<usize> {
        let by_stanza = |uplink: &Uplink| {
            let learnt = uplink.origin == Origin::Main || uplink.dynamic && family == Family::Inet6;
            uplink.in_main && !learnt && uplink.skipped.is_none()
        };
        let has_default = |index: &usize| self.uplinks[*index].family == family && by_stanza(&self.uplinks[*index]);
        (0..self.uplinks.len()).filter(has_default).collect()
    }

    /// The uplink with the smallest metric among these.
    fn primary_by_stanzas(&self, family: Family, unset: u32) -> Option<Primary> {
        let metric = |index: usize| self.uplinks[index].metric.unwrap_or(unset);
        let primaries = self.with_default(family).into_iter().map(|index| Primary { index, metric: metric(index) });
        primaries.min_by_key(|primary| primary.metric)
    }

    /// Metrics larger than `least` for uplinks, each with its position in the file. The metric of a block stays.
    fn new_metrics(
        &self,
        uplinks: &[(u32, usize)],
        least: u32,
        mut used: FxHashSet<u32>,
        shared: Option<&mut SharedMetrics>,
    ) -> FxHashMap<usize, u32> {
        let mut separate = SharedMetrics { least, of_interfaces: FxHashMap::default() };
        let is_shared = shared.is_some();
        let SharedMetrics { least, of_interfaces } = shared.unwrap_or(&mut separate);
        used.extend(of_interfaces.values());
        let mut metrics = FxHashMap::default();
        // The positions ascend, so all smaller candidates of a later search are used.
        let mut next = 0;
        for keeps in [true, false] {
            for (position, index) in uplinks {
                let uplink = &self.uplinks[*index];
                let of_interface = of_interfaces.get(&uplink.interface).copied();
                let kept = uplink.written.and_then(|written| written.metric);
                let kept = kept.filter(|kept| *kept > *least && !used.contains(kept));
                let metric = match of_interface.or(kept) {
                    _ if metrics.contains_key(index) => continue,
                    Some(metric) => metric,
                    None if keeps => continue,
                    None => {
                        let first = least.saturating_add(10 * (position + 1)).max(next);
                        let new = first_unused(first, &|metric| used.contains(&metric));
                        next = new.saturating_add(10);
                        new
                    }
                };
                used.insert(metric);
                metrics.insert(*index, metric);
                if is_shared {
                    of_interfaces.insert(uplink.interface.clone(), metric);
                }
            }
        }
        metrics
    }

    /// The primary uplink has the smallest metric, and comes first in the file among those with this metric. The others
    /// need larger metrics. `unset` is the metric of a stanza without `metric`: ifupdown's 0 for IPv4, the kernel's 1024
    /// for IPv6.
    fn choose_primary(&mut self, family: Family, unset: u32, shared: Option<&mut SharedMetrics>) {
        let Some(primary) = self.primary_by_stanzas(family, unset) else {
            let mut indexes = 0..self.uplinks.len();
            let any = indexes.find(|index| self.uplinks[*index].family == family && self.uplinks[*index].in_main);
            self.primary.extend(any.map(|index| (family, index)));
            return;
        };
        let with_default = self.with_default(family);
        let mut used: FxHashSet<u32> = with_default.iter().filter_map(|index| self.uplinks[*index].metric).collect();
        used.insert(primary.metric);
        let EqualMetrics { without, clashes, mut warnings } = self.equal_metrics(&with_default, &primary, unset, &used);
        let metrics = self.new_metrics(&without, primary.metric, used, shared);
        warnings.extend(self.smaller_than_unset(&with_default, &primary, unset));
        let learnt = (0..self.uplinks.len()).filter(|index| {
            let uplink = &self.uplinks[*index];
            uplink.family == family && uplink.in_main && uplink.origin == Origin::Main && uplink.skipped.is_none()
        });
        let effective = |index: &usize| self.uplinks[*index].metric.unwrap_or(unset);
        let best = learnt.min_by_key(effective).filter(|index| effective(index) < primary.metric);
        self.primary.insert(family, best.unwrap_or(primary.index));
        self.metrics.extend(metrics);
        self.clashes.extend(clashes);
        self.diagnostics.extend(warnings);
    }

    /// The uplinks whose default route has the metric of an earlier one.
    fn equal_metrics(
        &self,
        with_default: &[usize],
        primary: &Primary,
        unset: u32,
        used: &FxHashSet<u32>,
    ) -> EqualMetrics {
        let effective = |index: usize| self.uplinks[index].metric.unwrap_or(unset);
        let mut equal = EqualMetrics::default();
        // The first uplink with each metric.
        let mut seen: FxHashMap<u32, usize> = FxHashMap::from_iter([(primary.metric, primary.index)]);
        let mut unused = UnusedMetrics { used, suggested: FxHashSet::default(), next: FxHashMap::default() };
        for (position, &index) in with_default.iter().enumerate().filter(|(_, index)| **index != primary.index) {
            let uplink = &self.uplinks[index];
            let metric = effective(index);
            let twin = *seen.entry(metric).or_insert(index);
            if twin == index || uplink.same_metric == SameMetric::Joins {
                continue;
            }
            let is_managed = is_managed(&self.uplinks, uplink);
            if is_managed && uplink.metric.is_none() {
                equal.without.push((position as u32, index));
                continue;
            }
            let clash = clash(uplink, &self.uplinks[twin], metric, unused.larger_than(metric));
            match is_managed {
                true => equal.clashes.push(clash),
                false => equal.warnings.push(Diagnostic { severity: Severity::Warning, ..clash }),
            }
        }
        equal
    }

    /// A warning if the primary uplink's metric is smaller than the one that the kernel sets for another uplink.
    fn smaller_than_unset(&self, with_default: &[usize], primary: &Primary, unset: u32) -> Option<Diagnostic> {
        let first = &self.uplinks[primary.index];
        if unset <= 1 || first.metric.is_none() || primary.metric >= unset {
            return None;
        }
        let other = with_default.iter().map(|index| &self.uplinks[*index]).find(|uplink| uplink.metric.is_none())?;
        let message = format!(
            "{}: primary uplink, because its default route has metric {}; the kernel sets metric {unset} for {}",
            first.label(),
            primary.metric,
            other.label()
        );
        let help = format!("To prefer {}, set a lower 'metric' in its stanza.", other.label());
        Some(Diagnostic::warning(first.location, b"", message, help))
    }
}

/// The uplink with the smallest metric, by its index.
struct Primary {
    index: usize,
    metric: u32,
}

/// Uplinks whose default route has the same metric as another one's.
#[derive(Default)]
struct EqualMetrics {
    /// Uplinks without a `metric`, with their position in the file.
    without: Vec<(u32, usize)>,
    /// Managed uplinks whose `metric` an administrator set.
    clashes: Vec<Diagnostic>,
    /// Uplinks that are not managed.
    warnings: Vec<Diagnostic>,
}

/// Metrics of interfaces that have one metric for both families.
struct SharedMetrics {
    /// The larger metric of the primary uplinks of both families: all others are larger than it.
    least: u32,
    of_interfaces: FxHashMap<String, u32>,
}

/// The first of a metric and those 10, 20, ... larger that is not used.
fn first_unused(first: u32, is_used: &dyn Fn(u32) -> bool) -> u32 {
    let mut candidates = (0..).map(|n| first.saturating_add(10 * n));
    candidates.find(|metric| !is_used(*metric) || *metric == u32::MAX).unwrap_or(u32::MAX)
}

/// Metrics to suggest: no other uplink has them, and no other suggestion uses them.
struct UnusedMetrics<'a> {
    used: &'a FxHashSet<u32>,
    suggested: FxHashSet<u32>,
    /// For each metric, where the search for a larger one goes on.
    next: FxHashMap<u32, u32>,
}

impl UnusedMetrics<'_> {
    fn larger_than(&mut self, metric: u32) -> u32 {
        let next = self.next.entry(metric).or_insert(metric.saturating_add(10));
        let larger = first_unused(*next, &|metric| self.used.contains(&metric) || self.suggested.contains(&metric));
        *next = larger.saturating_add(10);
        self.suggested.insert(larger);
        larger
    }
}

fn clash(uplink: &Uplink, twin: &Uplink, metric: u32, other: u32) -> Diagnostic {
    let message = format!("the default routes of {} and {} both have metric {metric}", twin.label(), uplink.label());
    if let Origin::Line { location } = uplink.origin {
        let what = match uplink.same_metric {
            SameMetric::Replaces => "this line replaces the first route",
            _ => "this line fails with \"File exists\"",
        };
        let help = format!("Add 'metric {other}' to this line. A 'metric' option of the stanza does not apply to it.");
        return Diagnostic::error(location, b"", format!("{message}: {what}"), help);
    }
    let what = match uplink.same_metric {
        _ if uplink.dynamic => "the second route is silently not added",
        SameMetric::Replaces => "the second 'ifup' silently replaces the default route of the first",
        _ => "the second 'ifup' fails with \"File exists\"",
    };
    let help = format!("Set another 'metric' in the stanza of {}, for example {other}.", uplink.label());
    Diagnostic::error(uplink.location, b"", format!("{message}: {what}"), help)
}

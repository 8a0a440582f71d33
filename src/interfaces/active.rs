//! The links that are up, each with the stanza that it is up as, indexed: a host may have hundreds.

use bstr::BStr;
use rustc_hash::{FxHashMap, FxHashSet};

#[derive(Debug, Clone, Default)]
pub(super) struct Active<'a> {
    links: FxHashSet<&'a BStr>,
    /// By stanza, in the order of ifupdown's state.
    by_stanza: FxHashMap<&'a BStr, Vec<&'a BStr>>,
}

impl<'a> Active<'a> {
    pub(super) fn new(pairs: impl Iterator<Item = (&'a BStr, &'a BStr)>) -> Self {
        let mut active = Active::default();
        for (link, stanza) in pairs {
            active.links.insert(link);
            active.by_stanza.entry(stanza).or_default().push(link);
        }
        active
    }

    /// Removes other links; true if there were any.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&BStr) -> bool) -> bool {
        let before = self.links.len();
        self.links.retain(|link| is_kept(link));
        if self.links.len() == before {
            return false;
        }
        for links in self.by_stanza.values_mut() {
            links.retain(|link| self.links.contains(link));
        }
        self.by_stanza.retain(|_, links| !links.is_empty());
        true
    }

    pub(super) fn has_link(&self, link: &BStr) -> bool {
        self.links.contains(link)
    }

    pub(super) fn has_stanza(&self, stanza: &BStr) -> bool {
        self.by_stanza.contains_key(stanza)
    }

    /// The links that are up as this stanza.
    pub(super) fn of_stanza(&self, stanza: &BStr) -> &[&'a BStr] {
        self.by_stanza.get(stanza).map_or(&[], Vec::as_slice)
    }
}

//! The result of a lookup: what each rule did, and the outcome.

use nix::errno::Errno;

use crate::network::{ResolvedRoute, Route, Rule};

/// A lookup, rule by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// All rules of the family, in the kernel's order.
    pub steps: Vec<Step>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: Rule,
    pub verdict: RuleVerdict,
}

/// The result of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleVerdict {
    /// The rule does not match, and why.
    NoMatch(String),
    /// Continues at the first rule of this priority.
    Goto(u32),
    /// No later rule has this priority: continues at the next rule.
    GotoNowhere(u32),
    Nop,
    /// Its table has no route to the destination.
    NoRoute,
    /// A route of this type: continues at the next rule.
    Throw(Route),
    /// The rule suppresses the route of its table, and why.
    Suppressed(Route, String),
    /// Its table decides.
    Route(Route),
    /// The rule, or the route of its table, rejects the packet.
    Rejected(Option<Route>, Errno),
    /// The snapshot does not tell what the rule does.
    Unknown(String),
    /// An earlier `goto` skips it.
    Skipped,
    /// An earlier rule decided.
    NotEvaluated,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Route {
        /// Index into `Lookup::steps`.
        step: usize,
        route: Route,
        /// One of these. Several if the kernel selects by a hash or by the reachability of routers.
        candidates: Vec<ResolvedRoute>,
    },
    /// IPv4, a socket bound to an interface, and no route: the kernel treats every destination as on-link.
    OnLink { dev: String },
    Rejected {
        /// The rule that rejected the packet; nothing if no rule returned a route or none was evaluated.
        step: Option<usize>,
        errno: Errno,
        why: String,
    },
    /// The snapshot does not tell what the kernel does, and why.
    Unknown(String),
}

/// This lookup compared with the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Same,
    /// IPv4, a received packet: the kernel also checks the source (rp_filter, martian sources).
    SourceCheck,
    Differs,
    /// There is nothing to compare.
    Unknown,
}

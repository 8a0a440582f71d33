//! Which rule or route the kernel deletes for a request: the first one that has all values of the request. Values that
//! the request does not name may differ.

use ipnet::IpNet;

use super::family::Family;
use crate::network::{Action, Route, RouteExtras, Rule, RuleExtras};

/// Would the kernel delete `rule`, if nothing before it matches? `named` has the values of the request: 0 for a table
/// or a protocol, and the defaults of everything else, are not named. symroute names the `action`, `ip rule del` of a
/// lookup does not. (`rule_find` in net/core/fib_rules.c, `fib4_rule_compare`, `fib6_rule_compare`)
pub fn would_delete(named: &Rule, action: Option<Action>, rule: &Rule) -> bool {
    fn matches<T: PartialEq>(named: &Option<T>, other: &Option<T>) -> bool {
        named.is_none() || named == other
    }
    fn matches_prefix(named: &Option<IpNet>, other: &Option<IpNet>) -> bool {
        named.is_none_or(|net| net.prefix_len() == 0) || named == other
    }
    let plain = RuleExtras::default();
    let (n, r) = (named.extras.as_deref().unwrap_or(&plain), rule.extras.as_deref().unwrap_or(&plain));
    let ((mark, mask), (other_mark, other_mask)) = (n.mark.unwrap_or_default(), r.mark.unwrap_or_default());
    (named.family, named.priority) == (rule.family, rule.priority)
        && action.is_none_or(|action| std::mem::discriminant(&action) == std::mem::discriminant(&r.action))
        && (named.table == 0 || named.table == rule.table)
        && (named.protocol == 0 || named.protocol == rule.protocol)
        && matches_prefix(&named.src, &rule.src)
        && matches_prefix(&n.dst, &r.dst)
        && matches(&named.oif, &rule.oif)
        && matches(&n.iif, &r.iif)
        && matches(&named.suppress_prefixlen, &rule.suppress_prefixlen)
        && matches(&named.suppress_ifgroup, &rule.suppress_ifgroup)
        && (mark == 0 || mark == other_mark)
        && (mask == 0 || mask == other_mask)
        && (n.tos == 0 || n.tos == r.tos)
        && matches(&n.dscp, &r.dscp)
        && matches(&n.tun_id, &r.tun_id)
        && matches(&n.uids, &r.uids)
        && matches(&n.ip_protocol, &r.ip_protocol)
        && matches(&n.sports, &r.sports)
        && matches(&n.dports, &r.dports)
        && (!n.l3mdev || r.l3mdev)
}

/// The same for a route. (`fib_table_delete` in net/ipv4/fib_trie.c, `ip6_route_del` in net/ipv6/route.c)
pub fn would_delete_route(named: &Route, route: &Route) -> bool {
    let plain = RouteExtras::default();
    let (n, r) = (named.extras.as_deref().unwrap_or(&plain), route.extras.as_deref().unwrap_or(&plain));
    let of_inet = named.family == Family::Inet6
        || (named.scope, n.kind, n.tos) == (route.scope, r.kind, r.tos)
            && (n.prefsrc.is_none() || n.prefsrc == r.prefsrc);
    // Of several nexthops, the first one is compared.
    let first = r.nexthops.first();
    let dev = route.dev.as_ref().or_else(|| first?.dev.as_ref());
    let gateway = route.gateway.or_else(|| first?.gateway);
    (named.table, named.family, named.dst, n.src) == (route.table, route.family, route.dst, r.src)
        && of_inet
        && (named.metric == 0 || named.metric == route.metric)
        && (named.protocol == 0 || named.protocol == route.protocol)
        && (named.dev.is_none() || named.dev.as_ref() == dev)
        && (named.gateway.is_none() || named.gateway == gateway)
}

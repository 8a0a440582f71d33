//! What the kernel is asked: for its lists, for single changes, and which way a packet goes.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;

use crate::netlink::Socket;
use crate::netlink::message::{
    Filter, NeighbourStates, RTM_F_FIB_MATCH, get_link, is_cached, is_link_local, list_addresses, list_links,
    list_neighbours, list_routes, list_rules, priority_of_rule, read_address, read_failed_neighbour, read_link,
    read_neighbour, read_route, read_rule, read_way, write_group, write_query, write_route, write_rule,
};
use crate::netlink::wire::Request;
use crate::network::{Address, Answer, Family, Link, Query, Route, Rule, Snapshot};
use crate::observe::links::Neighbour;
use crate::policy::difference::Membership;
use crate::sort::sort_by_key;

/// How often a list of rules is read again at most.
const CONFIRMATIONS: usize = 20;

/// A kernel that was booted with `ipv6.disable=1`, or built without a feature, has no such lists.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT)
}

/// A list of rules as the kernel sent it.
#[derive(PartialEq)]
struct UnreadRules {
    bytes: Vec<u8>,
    /// The message of each rule.
    entries: Vec<Range<usize>>,
}

impl UnreadRules {
    fn read(&self) -> Result<Vec<Rule>> {
        let mut rules = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let rule = read_rule(&self.bytes[entry.clone()]).context("cannot read the kernel's list of rules")?;
            if let Some(rule) = rule {
                rules.push(rule);
            }
        }
        Ok(rules)
    }
}

/// Lists.
impl Socket {
    fn list<T>(&mut self, what: &str, request: &Request, read: impl Fn(&[u8]) -> Result<Option<T>>) -> Result<Vec<T>> {
        self.dump(request, read).with_context(|| format!("cannot read the kernel's list of {what}"))
    }

    /// A list that is empty where the kernel does not have the address family, or the feature.
    fn family_list<T>(
        &mut self,
        what: &str,
        request: &Request,
        read: impl Fn(&[u8]) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        match self.list(what, request, read) {
            Err(error) if error.downcast_ref().is_some_and(|errno| is_unsupported(*errno)) => Ok(Vec::new()),
            listed => listed,
        }
    }

    pub(crate) fn links(&mut self) -> Result<Vec<Link>> {
        let mut links = self.list("interfaces", &list_links(), |body| read_link(body).map(Some))?;
        // Older kernels list them in another order.
        sort_by_key(&mut links, |link| link.index);
        Ok(links)
    }

    /// One interface, by its index; nothing if it does not exist any more.
    pub(crate) fn link(&mut self, index: u32) -> Result<Option<Link>> {
        match self.ask(&get_link(index), read_link).context("cannot read an interface")? {
            Ok(link) => Ok(Some(link)),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno).context("cannot read an interface"),
        }
    }

    pub(crate) fn addresses(&mut self, links: &[Link]) -> Result<Vec<Address>> {
        self.list("addresses", &list_addresses(), |body| read_address(body, links))
    }

    /// The kernel counts to where the last part of a list ended (`dump_rules`, net/core/fib_rules.c): while rules
    /// before them come and go, others are listed twice or not at all. Those of symroute count when two lists agree.
    pub(crate) fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut list = self.unread_rules()?;
        for _ in 0..CONFIRMATIONS {
            if self.was_read_at_once() {
                return list.read();
            }
            let again = self.unread_rules()?;
            // Nearly always: then there is nothing else to compare.
            if again == list {
                return list.read();
            }
            let (rules, before) = (again.read()?, list.read()?);
            if rules.iter().filter(|rule| rule.is_ours()).eq(before.iter().filter(|rule| rule.is_ours())) {
                return Ok(rules);
            }
            list = again;
        }
        bail!("the kernel's rules keep changing while they are read")
    }

    /// Rules with these priorities: each was there when it was listed. While rules come and go, others may be missing, or
    /// listed twice.
    pub(crate) fn rules_listed_once(&mut self, priorities: &[u32]) -> Result<Vec<Rule>> {
        self.family_list("rules", &list_rules(), |body| match priorities.contains(&priority_of_rule(body)?) {
            true => read_rule(body),
            false => Ok(None),
        })
    }

    fn unread_rules(&mut self) -> Result<UnreadRules> {
        let bytes = RefCell::new(Vec::new());
        let entries = self.family_list("rules", &list_rules(), |body| {
            let mut bytes = bytes.borrow_mut();
            let start = bytes.len();
            bytes.extend_from_slice(body);
            Ok(Some(start..bytes.len()))
        })?;
        Ok(UnreadRules { bytes: bytes.into_inner(), entries })
    }

    pub(crate) fn routes(&mut self, links: &[Link]) -> Result<Vec<Route>> {
        self.routes_with(Filter::default(), links)
    }

    pub(crate) fn routes_with(&mut self, filter: Filter, links: &[Link]) -> Result<Vec<Route>> {
        self.list_routes(None, filter, links)
    }

    /// The routes of one family. A kernel without IPv6 sends IPv4 routes for IPv6.
    pub(crate) fn family_routes(&mut self, family: Family, filter: Filter, links: &[Link]) -> Result<Vec<Route>> {
        let mut routes = self.list_routes(Some(family), filter, links)?;
        routes.retain(|route| route.family == family);
        Ok(routes)
    }

    /// A table that does not exist is empty.
    fn list_routes(&mut self, family: Option<Family>, filter: Filter, links: &[Link]) -> Result<Vec<Route>> {
        let is_other = |body: &[u8]| is_cached(body) || filter.without_link_local && is_link_local(body);
        let mut listed = self.family_list("routes", &list_routes(family, filter), |body| match is_other(body) {
            true => Ok(None),
            false => read_route(body, links),
        });
        // Kernels without strict checking send all of them.
        if let Ok(routes) = &mut listed {
            routes.retain(|route| filter.has(route));
        }
        match listed {
            Err(error) if filter.table.is_some() && error.downcast_ref() == Some(&Errno::ENOENT) => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Neighbours that do not answer.
    pub(crate) fn failed_neighbours(
        &mut self,
        family: Family,
        links: &[Link],
        states: NeighbourStates,
    ) -> Result<Vec<(String, IpAddr)>> {
        self.family_list("neighbours", &list_neighbours(family), |body| read_failed_neighbour(body, links, states))
    }

    /// Neighbours with an Ethernet address.
    pub(crate) fn neighbours(&mut self, family: Family) -> Result<Vec<Neighbour>> {
        self.family_list("neighbours", &list_neighbours(family), read_neighbour)
    }

    /// Takes in which neighbours do not reply, if that selects a router.
    pub(crate) fn read_failed_routers(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if snapshot.has_several_routers() {
            snapshot.failed =
                self.failed_neighbours(Family::Inet6, &snapshot.links, NeighbourStates::FailedOrIncomplete)?;
        }
        Ok(())
    }
}

/// One change. An entry that exists is not added again, and not replaced except by `ReplaceRoute`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    AddRoute(&'a Route),
    ReplaceRoute(&'a Route),
    RemoveRoute(&'a Route),
    AddRule(&'a Rule),
    RemoveRule(&'a Rule),
    SetGroup(&'a Membership),
}

impl Change<'_> {
    /// Nothing if an interface does not exist any more.
    fn request(self, links: &[Link]) -> Option<(Request, i32)> {
        const ADD: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        const REPLACE: i32 = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        Some(match self {
            Change::AddRoute(route) => (write_route(route, links, libc::RTM_NEWROUTE)?, ADD),
            Change::ReplaceRoute(route) => (write_route(route, links, libc::RTM_NEWROUTE)?, REPLACE),
            Change::RemoveRoute(route) => (write_route(route, links, libc::RTM_DELROUTE)?, 0),
            Change::AddRule(rule) => (write_rule(rule, libc::RTM_NEWRULE), ADD),
            Change::RemoveRule(rule) => (write_rule(rule, libc::RTM_DELRULE), 0),
            Change::SetGroup(change) => (write_group(change, links)?, 0),
        })
    }
}

/// Changes: the kernel's rejection comes back as an `Errno` inside the result. It is ENODEV where an interface of the value
/// does not exist, and ENOBUFS where the reply to a removal was lost: then it may or may not be done.
impl Socket {
    /// Makes all of them, in this order, whatever the kernel rejects.
    ///
    /// # Errors
    /// When the socket fails, or the kernel's replies keep getting lost.
    pub(crate) fn make(&mut self, changes: &[Change], links: &[Link]) -> Result<Vec<Result<(), Errno>>> {
        let requests: Vec<Option<(Request, i32)>> = changes.iter().map(|change| change.request(links)).collect();
        let is_sent: Vec<bool> = requests.iter().map(Option::is_some).collect();
        let sent: Vec<(Request, i32)> = requests.into_iter().flatten().collect();
        let mut results = self.change(&sent)?.into_iter();
        let result = |is_sent: bool| match is_sent {
            true => results.next().unwrap_or(Err(Errno::ENOBUFS)),
            false => Err(Errno::ENODEV),
        };
        Ok(is_sent.into_iter().map(result).collect())
    }

    fn make_one(&mut self, change: Change, links: &[Link]) -> Result<Result<(), Errno>> {
        self.make(&[change], links)?.pop().context("the kernel sent no reply")
    }

    /// # Errors
    /// As [`Socket::remove_route`].
    pub fn add_rule(&mut self, rule: &Rule) -> Result<Result<(), Errno>> {
        self.make_one(Change::AddRule(rule), &[])
    }

    /// # Errors
    /// As [`Socket::remove_route`].
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<Result<(), Errno>> {
        self.make_one(Change::RemoveRule(rule), &[])
    }

    /// # Errors
    /// As [`Socket::remove_route`].
    pub fn add_route(&mut self, route: &Route, links: &[Link]) -> Result<Result<(), Errno>> {
        self.make_one(Change::AddRoute(route), links)
    }

    /// # Errors
    /// When the socket fails, or the kernel's replies keep getting lost.
    pub fn remove_route(&mut self, route: &Route, links: &[Link]) -> Result<Result<(), Errno>> {
        self.make_one(Change::RemoveRoute(route), links)
    }
}

/// Lookups.
impl Socket {
    /// Which way a packet goes, as the kernel itself says (RTM_GETROUTE with `RTM_F_LOOKUP_TABLE`). Nothing is sent.
    ///
    /// # Errors
    /// When a device of the query is not there, or the socket fails. That there is no route is an answer.
    pub fn lookup(&mut self, query: &Query, links: &[Link]) -> Result<Answer> {
        let answer = self.get_route(&write_query(query, links, 0)?, |body| read_way(body, links))?;
        Ok(answer.map_or_else(Answer::Rejected, Answer::Route))
    }

    /// The route of the table that answers (`RTM_F_FIB_MATCH`), or the rejection.
    ///
    /// # Errors
    /// As [`Socket::lookup`].
    pub fn lookup_route(&mut self, query: &Query, links: &[Link]) -> Result<Result<Route, Errno>> {
        self.get_route(&write_query(query, links, RTM_F_FIB_MATCH)?, |body| {
            let route = read_route(body, links)?.filter(|route| route.family == query.family());
            route.context("it is of another address family")
        })
    }

    /// A kernel without IPv6 has no route for it.
    fn get_route<T>(&mut self, request: &Request, read: impl Fn(&[u8]) -> Result<T>) -> Result<Result<T, Errno>> {
        let answer = self.ask(request, read).context("cannot read the kernel's route lookup")?;
        Ok(answer.map_err(|errno| if is_unsupported(errno) { Errno::ENETUNREACH } else { errno }))
    }
}

/// Recorded on a little-endian machine by the test lab (tests/lab/netlink.rs).
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::snapshot;
    use crate::network::Snapshot;

    const RECORDED: &[u8] = include_bytes!("../../tests/fixtures/snapshot.netlink");

    fn read(recorded: &[u8]) -> Result<Snapshot> {
        snapshot(&mut Socket::recorded(recorded))
    }

    fn counts(snapshot: &Snapshot) -> [usize; 4] {
        let Snapshot { links, addresses, rules, routes, .. } = snapshot;
        [links.len(), addresses.len(), rules.len(), routes.len()]
    }

    fn datagrams() -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let mut rest = RECORDED;
        while let Some((length, after)) = rest.split_first_chunk() {
            let (datagram, after) = after.split_at(u32::from_ne_bytes(*length) as usize);
            datagrams.push(datagram.to_vec());
            rest = after;
        }
        datagrams
    }

    fn joined(datagrams: &[Vec<u8>]) -> Vec<u8> {
        datagrams.iter().flat_map(|datagram| [&(datagram.len() as u32).to_ne_bytes()[..], datagram].concat()).collect()
    }

    type Count = fn(&mut Socket, &[Link]) -> Result<usize>;

    /// One of the four lists of a snapshot: its datagrams, as replies to a socket's first requests.
    struct List {
        datagrams: Vec<Vec<u8>>,
        count: Count,
    }

    impl List {
        fn read(&self, links: &[Link]) -> Result<usize> {
            (self.count)(&mut Socket::recorded(&joined(&self.datagrams)), links)
        }
    }

    fn lists() -> [List; 4] {
        let counts: [(u32, Count); 4] = [
            (1, |socket, _| Ok(socket.links()?.len())),
            (2, |socket, links| Ok(socket.addresses(links)?.len())),
            (3, |socket, _| Ok(socket.rules()?.len())),
            (4, |socket, links| Ok(socket.routes(links)?.len())),
        ];
        let mut lists = counts.map(|(_, count)| List { datagrams: Vec::new(), count });
        for mut datagram in datagrams() {
            let sequence = u32::from_ne_bytes(datagram[8..12].try_into().unwrap());
            let n = counts.iter().rposition(|(first, _)| *first <= sequence).unwrap();
            for (at, place) in places(&datagram).into_iter().enumerate() {
                if place.1 == 8 {
                    datagram[at..at + 4].copy_from_slice(&(sequence - counts[n].0 + 1).to_ne_bytes());
                }
            }
            lists[n].datagrams.push(datagram);
        }
        lists
    }

    /// Where each byte of `datagram` is: the type of its message, and the offset in it.
    fn places(datagram: &[u8]) -> Vec<(u16, usize)> {
        let mut places = Vec::new();
        while places.len() < datagram.len() {
            let message = &datagram[places.len()..];
            let length = u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes(message[4..6].try_into().unwrap());
            places.extend((0..length.next_multiple_of(4)).map(|at| (kind, at)));
        }
        places
    }

    /// Bytes that say what is a message of the list: its length, its request, its address family, its interface, and
    /// whether a route is only remembered.
    fn decides_membership((kind, at): (u16, usize)) -> bool {
        let header = matches!(at, 0..4 | 8..12);
        header || matches!((kind, at), (libc::RTM_NEWADDR, 16 | 20..24) | (libc::RTM_NEWROUTE, 16 | 24..28))
    }

    #[test]
    fn the_recorded_snapshot() {
        let snapshot = read(RECORDED).unwrap();
        assert_eq!(counts(&snapshot), [3, 8, 42, 46]);
        let names: Vec<&str> = snapshot.links.iter().map(|link| &link.name[..]).collect();
        assert_eq!(names, ["lo", "B\\xfcro1", "eth0"]);
        assert_eq!(snapshot.links[2].altnames, ["B\\xfcro"]);
        assert!(snapshot.addresses.iter().any(|address| address.net.to_string() == "198.51.100.10/24"));
        let rules: Vec<String> = snapshot.rules.iter().map(Rule::to_string).collect();
        assert!(
            rules.contains(&"from 192.0.2.0/24 to 203.0.113.0/26 table 10101 priority 50".to_string()),
            "{rules:#?}"
        );
        assert!(snapshot.rules.iter().flat_map(|rule| &rule.extras).all(|more| !more.unknown));
        assert!(snapshot.routes.iter().any(|route| route.extras.as_ref().is_some_and(|more| more.nexthops.len() == 2)));
    }

    /// `NLMSG_ERROR` to the request of this number.
    fn rejection(sequence: u32, errno: Errno) -> Vec<u8> {
        let mut message = [36u32.to_ne_bytes(), (libc::NLMSG_ERROR as u32).to_ne_bytes()].concat();
        message.extend([sequence, 0].map(u32::to_ne_bytes).concat());
        message.extend((-(errno as i32)).to_ne_bytes());
        message.extend([0; 16]);
        message
    }

    /// Its lists of all families have nothing of IPv6, and it sends IPv4 routes for a list of IPv6 routes.
    #[test]
    fn a_kernel_without_ipv6() {
        let whole = read(RECORDED).unwrap();
        let is_inet6 = |message: &[u8]| message.get(16) == Some(&10);
        let sent: Vec<Vec<u8>> = datagrams()
            .iter()
            .map(|datagram| {
                let starts = places(datagram).into_iter().enumerate().filter(|(_, (_, at))| *at == 0).map(|(at, _)| at);
                let starts: Vec<usize> = starts.chain([datagram.len()]).collect();
                let messages = starts.windows(2).map(|bounds| &datagram[bounds[0]..bounds[1]]);
                let is_of_ip = |message: &&[u8]| matches!(message[4], 24 | 32);
                messages.filter(|message| !(is_of_ip(message) && is_inet6(message))).collect::<Vec<_>>().concat()
            })
            .collect();
        let snapshot = read(&joined(&sent)).unwrap();
        let is_inet = |family: Family| family == Family::Inet;
        assert_eq!(snapshot.rules, whole.rules.into_iter().filter(|rule| is_inet(rule.family)).collect::<Vec<Rule>>());
        assert_eq!(
            snapshot.routes,
            whole.routes.into_iter().filter(|route| is_inet(route.family)).collect::<Vec<Route>>()
        );
        let [.., routes] = lists();
        let of_family = |family: Family| {
            Socket::recorded(&joined(&routes.datagrams)).family_routes(family, Filter::default(), &whole.links)
        };
        assert_eq!(of_family(Family::Inet).unwrap(), snapshot.routes);
        for errno in [Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT] {
            let socket = || Socket::recorded(&joined(&[rejection(1, errno)]));
            let query = Query::to("2001:db8::1".parse().unwrap());
            assert_eq!(socket().lookup(&query, &[]).unwrap(), Answer::Rejected(Errno::ENETUNREACH));
            assert_eq!(socket().lookup_route(&query, &[]).unwrap(), Err(Errno::ENETUNREACH));
            assert_eq!(socket().failed_neighbours(Family::Inet6, &[], NeighbourStates::Failed).unwrap(), []);
            // Those lists are of all families: without interfaces, every policy would be removed.
            assert!(socket().links().is_err() && socket().addresses(&[]).is_err());
        }
        let rejected = Socket::recorded(&joined(&[rejection(1, Errno::EPERM)])).links().unwrap_err();
        assert_eq!(
            format!("{rejected:#}"),
            "cannot read the kernel's list of interfaces: EPERM: Operation not permitted"
        );
    }

    /// Whichever byte is another one: the whole list, or an error.
    #[test]
    fn no_changed_byte_makes_a_list_shorter() {
        let links = read(RECORDED).unwrap().links;
        for mut list in lists() {
            let whole = list.read(&links).unwrap();
            for n in 0..list.datagrams.len() {
                for (at, place) in places(&list.datagrams[n]).into_iter().enumerate() {
                    let byte = list.datagrams[n][at];
                    for changed in [byte ^ 1, byte.wrapping_add(0x84)] {
                        list.datagrams[n][at] = changed;
                        let count = list.read(&links).unwrap_or(whole);
                        let same = count == whole || decides_membership(place);
                        assert!(same, "byte {at} of datagram {n}, {place:?}: {byte} to {changed}: {count}");
                    }
                    list.datagrams[n][at] = byte;
                }
            }
        }
    }

    /// A part of what was sent is an error, wherever it ends.
    #[test]
    fn a_truncated_list_is_an_error() {
        let links = read(RECORDED).unwrap().links;
        for list in lists() {
            for n in 0..list.datagrams.len() {
                let some = List { datagrams: list.datagrams[..n].to_vec(), ..list };
                assert!(some.read(&links).is_err(), "{n} datagrams");
                // Between two messages, what is missing cannot be seen; the end of the list comes later.
                for (length, _) in places(&list.datagrams[n]).iter().enumerate().filter(|(_, (_, at))| *at > 0) {
                    let mut part = List { datagrams: list.datagrams.clone(), ..list };
                    part.datagrams[n].truncate(length);
                    assert!(part.read(&links).is_err(), "{length} bytes of datagram {n}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_changed_come_to_an_end(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
        ) {
            let mut recorded = RECORDED.to_vec();
            for (at, byte) in changes {
                let at = at.index(recorded.len());
                recorded[at] = byte;
            }
            let _ = read(&recorded);
        }
    }
}

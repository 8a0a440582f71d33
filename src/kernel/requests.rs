//! What the kernel is asked: for its lists, and which way a packet goes.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteFlags, RouteMessage};
use netlink_packet_route::rule::RuleMessage;
use nix::errno::Errno;

use super::Socket;
use super::message::{family_of, name_of, read_address, read_link, read_route, read_rule, read_way, write_query};
use crate::interfaces::Family;
use crate::snapshot::{Address, Answer, Link, Query, Route, Rule};

const FAMILIES: [Family; 2] = [Family::Inet, Family::Inet6];

impl Socket {
    pub(super) fn links(&mut self) -> Result<Vec<Link>> {
        let replies = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let read = |reply| match reply {
            RouteNetlinkMessage::NewLink(message) => read_link(message),
            _ => None,
        };
        Ok(replies.into_iter().filter_map(read).collect())
    }

    pub(super) fn addresses(&mut self, links: &[Link]) -> Result<Vec<Address>> {
        let replies = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let read = |reply| match reply {
            RouteNetlinkMessage::NewAddress(message) => read_address(&message, links),
            _ => None,
        };
        Ok(replies.into_iter().filter_map(read).collect())
    }

    /// A kernel that was booted with `ipv6.disable=1` knows no rules or routes of that family: there are none.
    fn dump_if_known(&mut self, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        self.dump(request).or_else(|error| match error.downcast_ref() {
            Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT) => Ok(Vec::new()),
            _ => Err(error),
        })
    }

    pub(super) fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in FAMILIES {
            let mut request = RuleMessage::default();
            request.header.family = family_of(family);
            for reply in self.dump_if_known(RouteNetlinkMessage::GetRule(request))? {
                if let RouteNetlinkMessage::NewRule(message) = reply {
                    rules.push(read_rule(&message, family));
                }
            }
        }
        Ok(rules)
    }

    pub(super) fn routes(&mut self, links: &[Link]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in FAMILIES {
            let mut request = RouteMessage::default();
            request.header.address_family = family_of(family);
            for reply in self.dump_if_known(RouteNetlinkMessage::GetRoute(request))? {
                if let RouteNetlinkMessage::NewRoute(message) = reply {
                    routes.extend(read_route(&message, family, links));
                }
            }
        }
        Ok(routes)
    }
}

impl Socket {
    /// Which way a packet goes, as the kernel itself says (RTM_GETROUTE with `RTM_F_LOOKUP_TABLE`). Nothing is sent.
    ///
    /// # Errors
    /// When a device of the query is not there, or the socket fails. That there is no route is an answer.
    pub fn lookup(&mut self, query: &Query, links: &[Link]) -> Result<Answer> {
        Ok(match self.get_route(query, links, RouteFlags::empty())? {
            Ok(message) => Answer::Route(read_way(&message, links)),
            Err(errno) => Answer::Refused(errno),
        })
    }

    /// The route of the table that answers (`RTM_F_FIB_MATCH`), or the refusal.
    ///
    /// # Errors
    /// As [`Socket::lookup`].
    pub fn lookup_route(&mut self, query: &Query, links: &[Link]) -> Result<Result<Route, Errno>> {
        let reply = self.get_route(query, links, RouteFlags::FibMatch)?;
        let read =
            |message| read_route(&message, query.family(), links).context("the kernel's answer is not of the question");
        reply.map(read).map_or_else(|errno| Ok(Err(errno)), |route| route.map(Ok))
    }

    fn get_route(&mut self, query: &Query, links: &[Link], flags: RouteFlags) -> Result<Result<RouteMessage, Errno>> {
        let request = write_query(query, links, flags)?;
        match self.ask(RouteNetlinkMessage::GetRoute(request))? {
            Ok(RouteNetlinkMessage::NewRoute(message)) => Ok(Ok(message)),
            Ok(_) => bail!("the kernel answered a route lookup with something else"),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// Neighbours that do not answer.
    pub(super) fn failed_neighbours(&mut self, family: Family, links: &[Link]) -> Result<Vec<(String, IpAddr)>> {
        let mut request = NeighbourMessage::default();
        request.header.family = family_of(family);
        let read = |reply| match reply {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.state == NeighbourState::Failed => {
                let address = message.attributes.iter().find_map(|attribute| match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
                    _ => None,
                })?;
                Some((name_of(message.header.ifindex, links)?, address))
            }
            _ => None,
        };
        Ok(self.dump_if_known(RouteNetlinkMessage::GetNeighbour(request))?.into_iter().filter_map(read).collect())
    }
}

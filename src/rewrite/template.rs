//! The lines of a block, from a minijinja template.
//!
//! `docs/templates.md` describes the variables of a template.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};
use rustc_hash::FxHashMap;

use crate::interfaces::block::{BEGIN, begin_from};
use crate::interfaces::grammar::{Statement, statement};
use crate::network::prefixes::Prefixes;
use crate::network::{MAIN, PROTOCOL, Route, Rule, prefix};
use crate::policy::group::{GROUP, NO_GROUP};
use crate::policy::{Plan, Policy, StanzaItem};
use crate::sort::sort_by_key;
use crate::uplinks::by_network::ByNetwork;
use crate::uplinks::{Layout, Uplink};

/// The templates of this package, by `--style`.
pub const STYLES: [(&str, &str); 3] = [
    ("iproute2", include_str!("../../templates/iproute2.j2")),
    ("article", include_str!("../../templates/article.j2")),
    ("hook", include_str!("../../templates/hook.j2")),
];

pub struct Template {
    environment: Environment<'static>,
    name: String,
    marker: String,
}

impl Template {
    /// # Errors
    /// If it is not a valid template; the message has its name, line and reason.
    pub fn new(name: &str, source: String) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        environment.add_template_owned(name.to_string(), source).map_err(explain)?;
        Ok(Template { environment, name: name.to_string(), marker: BEGIN.to_string() })
    }

    /// The opening marker of its blocks.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// The same; its blocks name its file, so that the next run uses it again.
    pub fn named(self, path: &str) -> Self {
        Template { marker: begin_from(path), ..self }
    }

    /// The lines by stanza, without indentation; only stanzas that need lines.
    pub fn bodies(&self, plan: &Plan) -> Result<BTreeMap<usize, Vec<String>>> {
        let template = self.environment.get_template(&self.name).map_err(explain)?;
        let index = Index::new(plan);
        let mut bodies = BTreeMap::new();
        for &position in &plan.managed {
            for (stanza, context) in contexts(plan, &index, position) {
                let text = template.render(context).map_err(explain)?;
                let lines: Vec<String> =
                    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
                if let Some(line) = lines.iter().find(|line| !is_option(line)) {
                    bail!("template {} writes the line '{line}', which is not an option of a stanza", self.name);
                }
                if !lines.is_empty() {
                    let body: &mut Vec<String> = bodies.entry(stanza).or_default();
                    body.extend(lines);
                    one_metric(body);
                }
            }
        }
        Ok(bodies)
    }
}

/// A stanza of both families has one metric for both: the larger one.
fn one_metric(body: &mut Vec<String>) {
    let metric = |line: &String| line.strip_prefix("metric ").and_then(|number| number.parse::<u32>().ok());
    let largest = body.iter().filter_map(metric).max();
    let mut seen = false;
    body.retain_mut(|line| match (metric(line), largest) {
        (Some(_), Some(largest)) => {
            *line = format!("metric {largest}");
            !std::mem::replace(&mut seen, true)
        }
        _ => true,
    });
}

/// Only the first lines of the debug form of minijinja's errors have the file and line.
fn explain(error: minijinja::Error) -> anyhow::Error {
    let place = match (error.name(), error.line()) {
        (Some(name), Some(line)) => format!("{name}:{line}: "),
        _ => String::new(),
    };
    anyhow::anyhow!("{place}{error}").context("invalid template")
}

/// One context for each stanza of the uplink.
fn contexts(plan: &Plan, index: &Index, position: usize) -> Vec<(usize, Value)> {
    let uplink = &plan.uplinks[position];
    let common = context! {
        interface => uplink.interface.clone(),
        family => uplink.family.name(),
        ip => uplink.family.ip(),
        protocol => PROTOCOL,
        dynamic => uplink.dynamic,
    };
    let metric = plan.metrics.get(&position);
    let policy = plan.policy(position).filter(|_| !uplink.dynamic);
    let Some(policy) = policy else { return contexts_without_policy(uplink, metric, &common) };
    let on_link = Prefixes::new(uplink.on_link());
    let mut parts: BTreeMap<usize, (Vec<Value>, Vec<Value>)> = BTreeMap::from([(uplink.stanza, Default::default())]);
    for StanzaItem { item, stanza } in &policy.routes {
        parts.entry(*stanza).or_default().0.push(route_value(item, index, uplink, &on_link));
    }
    for StanzaItem { item, stanza } in &policy.rules {
        let rules = &mut parts.entry(*stanza).or_default().1;
        // Rules that depend on other rules of the host are not in the files: the hooks add them.
        rules.extend((item.priority >= policy.priority).then(|| rule_value(item)));
    }
    let is_requested = uplink.overrides.layout.is_none() && policy.layout == Layout::Article;
    let groups = groups(index, uplink);
    let with_policy = |(stanza, (routes, rules))| {
        let owner = stanza == uplink.stanza;
        let lent = if owner { lent(plan, index, uplink) } else { Vec::new() };
        let context = context! {
            owner,
            metric => metric.filter(|_| owner),
            gateway => uplink.gateway.address().map(|gateway| gateway.to_string()),
            table => policy.table,
            priority => policy.priority,
            layout => policy.layout.name(),
            asked_layout => (is_requested && owner).then_some(policy.layout.name()),
            routes => routes,
            rules => rules,
            groups => groups.clone(),
            lent,
            ..common.clone()
        };
        (stanza, context)
    };
    parts.into_iter().map(with_policy).collect()
}

fn contexts_without_policy(uplink: &Uplink, metric: Option<&u32>, common: &Value) -> Vec<(usize, Value)> {
    // A further stanza adds its address after the lines of this one have run.
    let further = uplink.sources.iter().filter_map(|source| source.stanza).filter(|_| uplink.dynamic);
    let stanzas: BTreeSet<usize> = further.chain([uplink.stanza]).collect();
    let none = Vec::<Value>::new;
    let context = |stanza: usize| {
        let owner = stanza == uplink.stanza;
        context! { owner, metric => metric.filter(|_| owner), routes => none(), rules => none(), groups => none(),
        lent => none(), gateway => (), table => (), priority => (), layout => (), asked_layout => (), ..common.clone() }
    };
    stanzas.into_iter().map(|stanza| (stanza, context(stanza))).collect()
}

/// What the blocks of all uplinks depend on.
struct Index<'a> {
    /// The members of the group whose uplinks have lines for it, by interface.
    members: FxHashMap<&'a str, Member>,
    /// The other members.
    without_lines: Vec<Member>,
    /// Routes in the tables of other interfaces' uplinks, by interface.
    lent: FxHashMap<&'a str, Vec<(usize, &'a Route)>>,
    /// Interfaces of on-link networks.
    on_link: ByNetwork<BTreeSet<&'a str>>,
}

/// An interface that symroute puts into the group.
#[derive(Clone)]
struct Member {
    /// In the order of the group.
    position: usize,
    value: Value,
}

impl Member {
    /// `users` are commands that show the rules which need it.
    fn new(plan: &Plan, (position, interface): (usize, &String), users: Vec<String>) -> Self {
        let value =
            context! { dev => interface.clone(), number => plan.group.number, default => NO_GROUP, users => users };
        Member { position, value }
    }
}

/// The rules of these policies, by their tables: N uplinks on one interface have N lines with N tables.
fn of_tables(plan: &Plan, policies: &[&Policy]) -> Vec<String> {
    let show =
        |policy: &&Policy| format!("{} rule show table {}", plan.uplinks[policy.uplink].family.ip(), policy.table);
    policies.iter().map(show).collect()
}

/// The rules that name the group. -N: `ip` would show a name that the administrator gave to the group.
fn of_group(plan: &Plan) -> Vec<String> {
    let families: BTreeSet<&str> = plan.policies.iter().map(|policy| plan.uplinks[policy.uplink].family.ip()).collect();
    families.into_iter().map(|ip| format!("{ip} -N rule show | grep -w 'suppress_ifgroup {GROUP}'")).collect()
}

impl<'a> Index<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut policies: FxHashMap<&str, Vec<&Policy>> = FxHashMap::default();
        let (mut lent, mut on_link) = (FxHashMap::default(), ByNetwork::default());
        for policy in &plan.policies {
            let interface = &plan.uplinks[policy.uplink].interface[..];
            policies.entry(interface).or_default().push(policy);
            for route in policy.routes.iter().map(|placed| &placed.item) {
                if let Some(dev) = route.dev.as_deref().filter(|dev| *dev != interface) {
                    lent.entry(dev).or_insert_with(Vec::new).push((policy.uplink, route));
                }
            }
        }
        for uplink in &plan.uplinks {
            for net in uplink.on_link() {
                on_link.get_or_insert(net, BTreeSet::new()).insert(&uplink.interface[..]);
            }
        }
        let of_group = of_group(plan);
        let (mut members, mut without_lines) = (FxHashMap::default(), Vec::new());
        for member in plan.group.interfaces.iter().enumerate().filter(|_| plan.group.number == GROUP) {
            match policies.get(&member.1[..]) {
                Some(own) => _ = members.insert(&member.1[..], Member::new(plan, member, of_tables(plan, own))),
                None => without_lines.push(Member::new(plan, member, of_group.clone())),
            }
        }
        Index { members, without_lines, lent, on_link }
    }

    /// Is the address in an on-link network of another interface?
    fn is_elsewhere(&self, address: IpAddr, interface: &str) -> bool {
        let mut interfaces = self.on_link.containing(address.into()).flatten();
        interfaces.any(|other| *other != interface)
    }
}

/// The interfaces that the stanza puts into the group: its own, and those of uplinks that have no lines for it.
fn groups(index: &Index, uplink: &Uplink) -> Vec<Value> {
    let own = index.members.get(&uplink.interface[..]);
    let mut members: Vec<&Member> = own.into_iter().chain(&index.without_lines).collect();
    sort_by_key(&mut members, |member| member.position);
    members.into_iter().map(|member| member.value.clone()).collect()
}

/// Routes through this uplink's interface in the tables of others: the kernel deletes them with the interface, and they
/// have to be added again with it.
fn lent(plan: &Plan, index: &Index, uplink: &Uplink) -> Vec<Value> {
    let through = index.lent.get(&uplink.interface[..]).into_iter().flatten().filter(|(owner, _)| {
        let owner = &plan.uplinks[*owner];
        owner.family == uplink.family && !owner.dynamic
    });
    through.map(|(_, route)| context! { text => route.to_string(), table => route.table }).collect()
}

fn route_value(route: &Route, index: &Index, uplink: &Uplink, on_link: &Prefixes) -> Value {
    let is_elsewhere = |gateway| index.is_elsewhere(gateway, &uplink.interface);
    // `ip` needs the interface for `onlink`.
    let deduced = !route.onlink && route.gateway.is_some_and(|gateway| on_link.hold(gateway) && !is_elsewhere(gateway));
    context! {
        text => route.to_string(),
        dst => if route.dst.prefix_len() == 0 { "default".into() } else { prefix(&route.dst) },
        gateway => route.gateway.map(|gateway| gateway.to_string()),
        dev => route.dev.clone(),
        table => route.table,
        on_link => route.gateway.is_none(),
        onlink => route.onlink,
        deduced,
        elsewhere => route.dev.as_ref() != Some(&uplink.interface),
    }
}

fn rule_value(rule: &Rule) -> Value {
    context! {
        text => rule.to_string(),
        from => rule.src.as_ref().map(prefix),
        oif => rule.oif.clone(),
        iif => rule.extras.as_ref().and_then(|more| more.iif.clone()),
        table => if rule.table == MAIN { "main".to_string() } else { rule.table.to_string() },
        priority => rule.priority,
        suppress_prefixlength => rule.suppress_prefixlen,
        suppress_ifgroup => rule.suppress_ifgroup,
    }
}

/// Is it a valid line of a block?
fn is_option(line: &str) -> bool {
    let text = line.trim();
    let comment = text.starts_with('#') && !text.starts_with("# symroute:");
    let option = matches!(statement(text.as_bytes()), Statement::Option { value, .. } if !value.is_empty());
    let is_one_line = !line.bytes().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
    is_one_line && (comment || option && !text.ends_with('\\'))
}

/// The template of a style of this package.
///
/// # Errors
/// For a style that there is not.
pub fn style(name: &str) -> Result<Template> {
    let source = STYLES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source);
    Template::new(&format!("{name}.j2"), source.with_context(|| format!("there is no style '{name}'"))?.to_string())
}

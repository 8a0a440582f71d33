//! The lines of a block, from a minijinja template.
//!
//! What a template is given is documented for users in `docs/templates.md`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};

use super::is_option;
use crate::interfaces::Family;
use crate::interfaces::block::{BEGIN, begin_from};
use crate::policy::group::NO_GROUP;
use crate::policy::{Placed, Plan};
use crate::snapshot::{MAIN, PROTOCOL, Route, Rule, prefix};
use crate::uplinks::{Layout, Uplink};

/// The templates that ship, by `--style`.
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
    /// When it is no template; the message has its name, line and reason.
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

    /// The same, and its blocks name its file: the next run makes them from it again.
    pub fn named(self, path: &str) -> Self {
        Template { marker: begin_from(path), ..self }
    }

    /// The lines by stanza, without indentation; stanzas that need none are left out.
    pub fn bodies(&self, plan: &Plan) -> Result<BTreeMap<usize, Vec<String>>> {
        let template = self.environment.get_template(&self.name).map_err(explain)?;
        let mut bodies = BTreeMap::new();
        for &at in &plan.managed {
            for (stanza, context) in contexts(plan, at) {
                let text = template.render(context).map_err(explain)?;
                let lines: Vec<String> =
                    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
                if let Some(line) = lines.iter().find(|line| !is_option(line)) {
                    bail!("the template {} makes the line '{line}', which is no option of a stanza", self.name);
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

/// minijinja's errors hold the file and line in their debug form's first lines only.
fn explain(error: minijinja::Error) -> anyhow::Error {
    let place = match (error.name(), error.line()) {
        (Some(name), Some(line)) => format!("{name}:{line}: "),
        _ => String::new(),
    };
    anyhow::anyhow!("{place}{error}").context("the template cannot be used")
}

/// One context for each stanza that has a part in the uplink.
fn contexts(plan: &Plan, at: usize) -> Vec<(usize, Value)> {
    let uplink = &plan.uplinks[at];
    let common = context! {
        interface => uplink.interface.clone(),
        family => uplink.family.name(),
        ip => if uplink.family == Family::Inet6 { "ip -6" } else { "ip" },
        protocol => PROTOCOL,
        dynamic => uplink.dynamic,
    };
    let metric = plan.metrics.get(&at);
    let policy = plan.policy(at).filter(|_| !uplink.dynamic);
    let Some(policy) = policy else {
        // A further stanza of it brings its address when the lines of this one have run.
        let further = uplink.sources.iter().filter_map(|source| source.stanza).filter(|_| uplink.dynamic);
        let stanzas: BTreeSet<usize> = further.chain([uplink.stanza]).collect();
        let none = Vec::<Value>::new;
        let own = |stanza: usize| {
            let owner = stanza == uplink.stanza;
            context! { owner, metric => metric.filter(|_| owner), routes => none(), rules => none(),
            groups => none(), lent => none(), gateway => (), table => (), priority => (), layout => (),
            asked_layout => (), ..common.clone() }
        };
        return stanzas.into_iter().map(|stanza| (stanza, own(stanza))).collect();
    };
    let mut stanzas: Vec<usize> = vec![uplink.stanza];
    let placed = policy.routes.iter().map(|route| route.stanza).chain(policy.rules.iter().map(|rule| rule.stanza));
    placed.for_each(|stanza| {
        if !stanzas.contains(&stanza) {
            stanzas.push(stanza);
        }
    });
    let asked = uplink.wish.layout.is_none() && policy.layout == Layout::Article;
    stanzas
        .into_iter()
        .map(|stanza| {
            let owner = stanza == uplink.stanza;
            let routes: Vec<Value> =
                here(&policy.routes, stanza).map(|route| route_value(route, plan, uplink)).collect();
            // What depends on other rules of the host is for the hooks: no file tells it.
            let rules = here(&policy.rules, stanza).filter(|rule| rule.priority >= policy.priority);
            let rules: Vec<Value> = rules.map(rule_value).collect();
            let groups = groups(plan, uplink);
            let lent = if owner { lent(plan, uplink) } else { Vec::new() };
            let own = context! {
                owner,
                metric => metric.filter(|_| owner),
                gateway => uplink.gateway.map(|gateway| gateway.to_string()),
                table => policy.table,
                priority => policy.priority,
                layout => policy.layout.name(),
                asked_layout => (asked && owner).then_some(policy.layout.name()),
                routes,
                rules,
                groups,
                lent,
                ..common.clone()
            };
            (stanza, own)
        })
        .collect()
}

/// The interfaces that the stanza puts into the group: its own, and those of uplinks that have no lines for it. Each
/// with the tables whose rules need it there.
fn groups(plan: &Plan, uplink: &Uplink) -> Vec<Value> {
    let has_lines = |interface: &str| {
        let mut policies = plan.policies.iter().map(|policy| &plan.uplinks[policy.uplink]);
        policies.any(|other| other.interface == interface)
    };
    let all = plan.group.interfaces.iter().filter(|interface| plan.group.is_set_by_us(interface));
    all.filter(|interface| **interface == uplink.interface || !has_lines(interface))
        .map(|interface| {
            let is_for = |other: &Uplink| other.interface == *interface || !has_lines(interface);
            let policies = plan.policies.iter().filter(|policy| is_for(&plan.uplinks[policy.uplink]));
            let users = policies.map(|policy| {
                let ip = if plan.uplinks[policy.uplink].family == Family::Inet6 { "ip -6" } else { "ip" };
                format!("{ip} rule show table {}", policy.table)
            });
            context! {
                dev => interface.clone(),
                number => plan.group.number,
                default => NO_GROUP,
                users => users.collect::<Vec<_>>(),
            }
        })
        .collect()
}

/// Routes through this uplink's interface in the tables of others: they go when it goes, and come back with it.
fn lent(plan: &Plan, uplink: &Uplink) -> Vec<Value> {
    let others = plan.policies.iter().filter(|policy| {
        let other = &plan.uplinks[policy.uplink];
        other.family == uplink.family && other.interface != uplink.interface && !other.dynamic
    });
    let routes = others.flat_map(|policy| policy.routes.iter().map(|placed| &placed.item));
    let through = routes.filter(|route| route.dev.as_ref() == Some(&uplink.interface));
    through.map(|route| context! { text => route.to_string(), table => route.table }).collect()
}

fn here<T>(placed: &[Placed<T>], stanza: usize) -> impl Iterator<Item = &T> {
    placed.iter().filter(move |placed| placed.stanza == stanza).map(|placed| &placed.item)
}

fn route_value(route: &Route, plan: &Plan, uplink: &Uplink) -> Value {
    let elsewhere = |gateway| {
        let others = plan.uplinks.iter().filter(|other| other.interface != uplink.interface);
        others.flat_map(Uplink::on_link).any(|net| net.contains(&gateway))
    };
    let deduced = route
        .gateway
        .is_some_and(|gateway| uplink.on_link().iter().any(|net| net.contains(&gateway)) && !elsewhere(gateway));
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
        iif => rule.more.as_ref().and_then(|more| more.iif.clone()),
        table => if rule.table == MAIN { "main".to_string() } else { rule.table.to_string() },
        priority => rule.priority,
        suppress_prefixlength => rule.suppress_prefixlen,
        suppress_ifgroup => rule.suppress_ifgroup,
    }
}

/// The template of a style that ships.
///
/// # Errors
/// For a style that there is not.
pub fn style(name: &str) -> Result<Template> {
    let source = STYLES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source);
    Template::new(&format!("{name}.j2"), source.with_context(|| format!("there is no style '{name}'"))?.to_string())
}

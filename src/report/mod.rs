//! What a person or `jq` reads: diagnostics, the configuration, the plan, the status and the proof as text and JSON.
//!
//! Text speaks as `ip rule show` and `ip route show` do, and JSON has iproute2's keys, so that both can be
//! held against what `ip` says.

mod activity;
pub mod check;
mod config;
mod diagnostics;
mod explain;
mod iproute2;
mod plan;
mod status;

pub use activity::{applied, inactive};
pub use config::{config_json, config_text};
pub use diagnostics::{diagnostic, one_line};
pub use explain::{explain_json, explain_text, outcome_text};
pub use plan::{plan_json, plan_text, summary};
pub use status::{status_json, status_text};

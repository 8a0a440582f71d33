//! Diagnostics, the configuration, the plan, the status and the check as text and JSON.
//!
//! Text has the format of `ip rule show` and `ip route show`, and JSON has iproute2's keys, so that both can be
//! compared with the output of `ip`. Must not print, and must not decide anything.

mod activity;
pub mod check;
mod columns;
mod config;
mod diagnostics;
mod explain;
mod iproute2;
pub mod observe;
mod page;
mod plan;
mod status;
mod watch;

pub use activity::{applied, inactive};
pub use columns::paragraph;
pub use config::{config_json, config_text};
pub use diagnostics::{diagnostic, one_line};
pub use explain::{explain_json, explain_text, outcome_text};
pub use page::page_text;
pub use plan::{plan_json, plan_text, problems_json, summary};
pub use status::{Style as StatusStyle, status_json, status_text};
pub use watch::{watch_json, watch_summary, watch_text};

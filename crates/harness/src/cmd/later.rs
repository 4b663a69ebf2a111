//! Verbs that have a name but no content yet.

use std::process::ExitCode;

use clap::Args;

/// Whatever stands behind the verb.
#[derive(Args)]
pub struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Says so, and fails: nothing was done.
pub fn say(verb: &str) -> anyhow::Result<ExitCode> {
    eprintln!("./dev {verb}: not built yet, nothing was done");
    Ok(ExitCode::from(2))
}

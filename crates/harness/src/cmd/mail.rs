//! `./dev mail`.

use std::process::ExitCode;

use clap::Args;
use lectern_harness::checkout;
use lectern_harness::testing::Mailbox;

/// The options of `mail`.
#[derive(Args)]
pub struct Mail {
    /// The address
    #[arg(long)]
    to: String,
    /// As a JSON list
    #[arg(long)]
    json: bool,
}

impl Mail {
    /// Prints the messages to an address, newest last.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let letters = Mailbox::at(checkout::state_dir().join("mailbox.jsonl")).to(&self.to);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&letters)?);
            return Ok(ExitCode::SUCCESS);
        }
        if letters.is_empty() {
            eprintln!("no messages to {}", self.to);
        }
        for letter in letters {
            println!("{}  {}\n\n{}\n", letter.at, letter.subject, letter.text.trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! How to reach the stack, for people.

use lectern_harness::checkout::DevStatus;

/// The one table.
pub fn table(status: &DevStatus) -> String {
    let DevStatus { http, metrics, nats, nats_monitor, nats_tools_nkey, database, mailbox, accounts } =
        status;
    let mut rows = vec![
        ("site", http.clone()),
        ("API", format!("{http}/api/v1")),
        ("API documents", format!("{http}/docs  {http}/openapi.json  {http}/asyncapi.json")),
        ("metrics", metrics.clone()),
        ("NATS", format!("{nats}  (./dev nats micro ls; nkey {})", nats_tools_nkey.display())),
        ("NATS monitor", nats_monitor.clone()),
        ("mailbox", format!("{}  (./dev mail --to ADDRESS)", mailbox.display())),
        ("database", format!("{database}  (./dev psql courses)")),
    ];
    rows.retain(|row| !row.1.is_empty());
    let mut text = String::new();
    for (name, value) in rows {
        text += &format!("  {name:<14} {value}\n");
    }
    let width = accounts.iter().map(|account| account.email.len()).max().unwrap_or_default();
    text += "\n";
    for account in accounts {
        text += &format!("  {:<14} {:<width$}  {}\n", account.role, account.email, account.password);
    }
    text
}

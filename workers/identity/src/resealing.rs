//! Keys are changed while everybody works (I-086): what is sealed under a key that `IDENTITY_KEK` no longer begins with is
//! sealed anew, a little at a time, until nothing needs the old key (docs/runbook.md has the steps).

use std::time::Duration;

use sqlx::{AssertSqlSafe, query_as, query_scalar};

use crate::app::App;

/// How often.
pub(crate) const PACE: Duration = Duration::from_secs(5);
/// Rows of one transaction.
const BATCH: usize = 200;
/// Transactions of one column and one run: ten thousand rows.
const BATCHES: usize = 50;

/// A column of sealed values.
struct Sealed {
    table: &'static str,
    column: &'static str,
    /// The column that names the row, as the place of its value has it, and back.
    key: &'static str,
    text: &'static str,
    from_text: &'static str,
    /// The text of a key that none is before.
    first: &'static str,
    /// The place is this with the key's text behind it.
    place: &'static str,
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";

const fn by_id(table: &'static str, column: &'static str, place: &'static str) -> Sealed {
    Sealed { table, column, key: "id", text: "id::text", from_text: "$1::uuid", first: NIL, place }
}

const fn by_hash(table: &'static str, column: &'static str, place: &'static str) -> Sealed {
    Sealed {
        table,
        column,
        key: "hash",
        text: "encode(hash, 'hex')",
        from_text: "decode($1, 'hex')",
        first: "",
        place,
    }
}

/// Every column that [`Vault::seal`](crate::vault::Vault::seal) fills.
const SEALED: &[Sealed] = &[
    by_id("users", "phone_sealed", "users/phone/"),
    by_id("users", "business_number_sealed", "users/business_number/"),
    by_id("credentials", "secret_sealed", "credentials/"),
    by_id("email_codes", "address_sealed", "email_codes/address/"),
    by_id("mail_queue", "sealed", "mail_queue/"),
    by_id("password_reset_requests", "sealed", "password_reset_requests/"),
    by_hash("challenges", "state_sealed", "challenges/"),
    by_hash("refresh_tokens", "grace_pair_sealed", "refresh_tokens/"),
    Sealed {
        table: "signing_keys",
        column: "private_sealed",
        key: "kid",
        text: "kid",
        from_text: "$1",
        first: "",
        place: "signing_keys/",
    },
];

impl Sealed {
    /// Rows of one key after one of them, in the order of the index; rows that somebody is changing are left for later.
    /// `ORDER BY id` alone would be the order of what is selected, `id::text`: no index has that.
    fn old_rows(&self) -> String {
        let Sealed { table, column, key, text, from_text, .. } = self;
        let after = from_text.replace("$1", "$3");
        format!(
            "SELECT {text}, {column} FROM identity.{table}
             WHERE substring({column} FROM 2 FOR 8) = $1 AND {table}.{key} > {after}
             ORDER BY {table}.{key} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
        )
    }

    fn update(&self) -> String {
        let Sealed { table, column, key, from_text, .. } = self;
        format!("UPDATE identity.{table} SET {column} = $3 WHERE {key} = {from_text} AND {column} = $2")
    }

    fn count(&self) -> String {
        let Sealed { table, column, .. } = self;
        format!("SELECT count(*) FROM identity.{table} WHERE substring({column} FROM 2 FOR 8) = $1")
    }
}

/// Seals anew what old keys hold, and counts what is left. Safe in several processes at once: they share the rows.
pub async fn reseal(app: App) -> anyhow::Result<()> {
    let old_keys: Vec<[u8; 8]> = app.vault().old_keys().collect();
    let (mut left, mut failed) = (0, 0);
    for old_key in &old_keys {
        for sealed in SEALED {
            match column(&app, sealed, old_key).await {
                Ok(count) => left += count,
                Err(error) => {
                    failed += 1;
                    let (table, column, error) = (sealed.table, sealed.column, format!("{error:#}"));
                    tracing::error!(table, column, error, "a column is not sealed anew; the others are");
                }
            }
        }
    }
    // a number without them could say that nothing needs the key any more
    anyhow::ensure!(failed == 0, "{failed} columns were not sealed anew");
    if !old_keys.is_empty() {
        tracing::info!(
            left,
            "sealed under keys that IDENTITY_KEK does not begin with; at 0 they can be taken out"
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of rows fit")]
    metrics::gauge!("user_sealed_under_old_keys").set(left as f64);
    Ok(())
}

/// Seals rows of a column anew; answers how many are left.
async fn column(app: &App, sealed: &Sealed, old_key: &[u8; 8]) -> anyhow::Result<i64> {
    let mut after = sealed.first.to_owned();
    for _ in 0..BATCHES {
        match batch(app, sealed, old_key, &after).await? {
            Some(last) => after = last,
            None => break,
        }
    }
    // built from the constants above, and nothing else
    let count = query_scalar(AssertSqlSafe(sealed.count())).bind(old_key.as_slice());
    Ok(count.fetch_one(app.pool()).await?)
}

/// Seals some rows anew; answers the last one's key when there may be more.
async fn batch(app: &App, sealed: &Sealed, old_key: &[u8; 8], after: &str) -> anyhow::Result<Option<String>> {
    let mut tx = app.begin_internal().await?;
    let rows: Vec<(String, Vec<u8>)> = query_as(AssertSqlSafe(sealed.old_rows()))
        .bind(old_key.as_slice())
        .bind(i64::try_from(BATCH)?)
        .bind(after)
        .fetch_all(&mut *tx)
        .await?;
    for (key, old) in &rows {
        let place = format!("{}{key}", sealed.place);
        let fresh = app.vault().open(&place, old).and_then(|plain| app.vault().seal(&place, &plain));
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(error) => {
                let (table, column) = (sealed.table, sealed.column);
                tracing::error!(table, column, error = format!("{error:#}"), "it can't be sealed anew");
                continue;
            }
        };
        sqlx::query(AssertSqlSafe(sealed.update())).bind(key).bind(old).bind(fresh).execute(&mut *tx).await?;
    }
    tx.commit_followed().await?;
    Ok((rows.len() == BATCH).then(|| rows.into_iter().next_back().map(|(key, _)| key)).flatten())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The columns that migrations name `…sealed`.
    fn in_migrations() -> BTreeSet<(String, String)> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/identity");
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if !entry.file_name().to_string_lossy().ends_with(".up.sql") {
                continue;
            }
            let mut table = String::new();
            for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    ["CREATE" | "ALTER", "TABLE", name, ..] => (*name).clone_into(&mut table),
                    [.., column, "bytea" | "bytea,", _]
                    | [.., column, "bytea" | "bytea,"]
                    | [column, "bytea", ..]
                    | ["ADD", "COLUMN", column, "bytea", ..]
                        if column.ends_with("sealed") =>
                    {
                        found.insert((table.clone(), (*column).to_owned()));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    #[test]
    fn i086_every_sealed_column_is_sealed_anew() {
        let ours: BTreeSet<_> =
            SEALED.iter().map(|sealed| (sealed.table.to_owned(), sealed.column.to_owned())).collect();
        assert_eq!(ours, in_migrations());
    }
}

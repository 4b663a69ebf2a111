//! Migrations applied from their files: for tests of crates below the command `lectern`, and for `./dev sqlx`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::checkout;

/// Applies all `*.up.sql` of each directory, in order of name, in `schema` (created where missing). A relative
/// directory counts from the root of the workspace.
///
/// # Errors
/// A directory without migrations, or the file whose SQL PostgreSQL refuses.
pub async fn apply_migrations(url: &str, schema: &str, dirs: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let opening = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}");
    sqlx::raw_sql(AssertSqlSafe(opening)).execute(&mut connection).await?;
    for dir in dirs {
        let dir = checkout::root().join(dir);
        let files = up_files(&dir)?;
        ensure!(!files.is_empty(), "no migration in {}", dir.display());
        for file in files {
            let sql = fs::read_to_string(&file)?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .with_context(|| format!("applying {}", file.display()))?;
        }
    }
    Ok(connection.close().await?)
}

fn up_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut ups: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.to_string_lossy().ends_with(".up.sql")).collect();
    ups.sort();
    Ok(ups)
}

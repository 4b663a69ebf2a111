//! What is asked and waits for its answer, for five minutes: named by a token of 256 random bits of which only the hash is
//! kept, good for one right answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_subjects::id::UserId;
use ring::digest::{SHA256, digest};
use sqlx::{PgConnection, query};

use crate::app::{App, Fault};

/// How long an answer is waited for; WebAuthn recommends the same (L3, 13.4.1).
const LIFE: TimeDelta = TimeDelta::minutes(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A code, after a password.
    SecondFactor,
    /// A new passkey.
    PasskeyNew,
    /// A passkey's signature, at sign-in.
    PasskeySignIn,
    /// An OpenID provider's answer.
    Oidc,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::SecondFactor => "second_factor",
            Kind::PasskeyNew => "passkey_new",
            Kind::PasskeySignIn => "passkey_sign_in",
            Kind::Oidc => "oidc",
        }
    }
}

/// A challenge that is to be kept.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    pub user: Option<UserId>,
    /// How they have proved who they are so far.
    pub amr: Vec<String>,
    /// The password hash that was proved.
    pub password: Option<&'a str>,
    /// What the answer is checked against.
    pub state: Option<Vec<u8>>,
}

/// A challenge that was answered.
pub(crate) struct Answered {
    pub user: Option<UserId>,
    pub amr: Vec<String>,
    password: Option<Vec<u8>>,
    pub state: Vec<u8>,
}

impl Answered {
    /// Whether what began with a password began with this one. What began without a password did.
    pub fn began_with(&self, password_hash: Option<&str>) -> bool {
        match &self.password {
            Some(began_with) => password_hash.is_some_and(|hash| sha256(hash)[..] == began_with[..]),
            None => true,
        }
    }
}

/// Keeps a challenge; answers its token and until when it is good.
pub(crate) async fn ask(
    connection: &mut PgConnection,
    app: &App,
    kind: Kind,
    asked: Asked<'_>,
) -> Result<(String, DateTime<Utc>), Fault> {
    let token = URL_SAFE_NO_PAD.encode(app.vault().random::<32>().map_err(Fault::Broken)?);
    let hash = sha256(&token);
    let state = asked.state.map(|state| app.vault().seal(&place(&hash), &state)).transpose();
    let (password, now) = (asked.password.map(sha256), app.now());
    query!(
        "INSERT INTO identity.challenges (hash, kind, user_id, amr, password, state_sealed, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &hash,
        kind.name(),
        asked.user.map(|user| user.0),
        &asked.amr,
        password.as_ref().map(<[u8; 32]>::as_slice),
        state.map_err(Fault::Broken)?,
        now,
        now + LIFE
    )
    .execute(connection)
    .await?;
    Ok((token, now + LIFE))
}

/// Takes a challenge back, once: the statement that decides whose answer counts. None when there is none, it was
/// answered, or too late.
pub(crate) async fn take(
    connection: &mut PgConnection,
    app: &App,
    kind: Kind,
    token: &str,
) -> Result<Option<Answered>, Fault> {
    let hash = sha256(token);
    let taken = query!(
        r#"DELETE FROM identity.challenges WHERE hash = $1 AND kind = $2 AND expires_at > $3
           RETURNING user_id AS "user: UserId", amr, password, state_sealed"#,
        &hash,
        kind.name(),
        app.now()
    )
    .fetch_optional(connection)
    .await?;
    let Some(taken) = taken else { return Ok(None) };
    let state = match taken.state_sealed {
        Some(sealed) => app.vault().open(&place(&hash), &sealed).map_err(Fault::Broken)?,
        None => Vec::new(),
    };
    Ok(Some(Answered { user: taken.user, amr: taken.amr, password: taken.password, state }))
}

/// Whom a second factor is asked of.
pub(crate) async fn user_of(
    connection: &mut PgConnection,
    app: &App,
    token: &str,
) -> Result<Option<UserId>, Fault> {
    let user = sqlx::query_scalar!(
        r#"SELECT user_id AS "user!: UserId" FROM identity.challenges
           WHERE hash = $1 AND kind = 'second_factor' AND expires_at > $2"#,
        &sha256(token),
        app.now()
    );
    Ok(user.fetch_optional(connection).await?)
}

/// SHA-256 of what is too long to be guessed.
pub(crate) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

fn place(hash: &[u8; 32]) -> String {
    format!("challenges/{}", hex::encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began_with(password: Option<&str>) -> Answered {
        let password = password.map(|hash| sha256(hash).to_vec());
        Answered { user: None, amr: Vec::new(), password, state: Vec::new() }
    }

    #[test]
    fn a_changed_password_voids_what_the_old_one_began() {
        assert!(began_with(Some("$argon2id$old")).began_with(Some("$argon2id$old")));
        assert!(!began_with(Some("$argon2id$old")).began_with(Some("$argon2id$new")));
        assert!(!began_with(Some("$argon2id$old")).began_with(None));
        assert!(began_with(None).began_with(Some("$argon2id$new")) && began_with(None).began_with(None));
    }
}

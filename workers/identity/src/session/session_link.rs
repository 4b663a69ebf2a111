//! The link in a letter that ends the session which the letter is about: signed, so that nothing is stored. It does
//! nothing else, and using it again changes nothing more.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use lectern_subjects::id::{AuthSessionId, UserId};
use uuid::Uuid;

use crate::app::App;
use crate::mail::letters::Link;
use crate::vault::Vault;

/// How long a link is good: letters are not read at once.
const LIFE: TimeDelta = TimeDelta::days(7);
/// Where the site asks once more and sends the token. A link that is merely opened, by a mail filter for example, ends
/// nothing.
const PAGE: &str = "/session/end";
/// User, session, end of life.
const BODY_LEN: usize = 16 + 16 + 8;
const PURPOSE: &str = "session link";

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Session(UserId, AuthSessionId),
    Expired,
    NotOurs,
}

/// The link that ends a session.
pub(crate) fn of(app: &App, user: UserId, sid: AuthSessionId, now: DateTime<Utc>) -> Link {
    Link::to(app.settings(), PAGE, seal(app.vault(), user, sid, now))
}

fn seal(vault: &Vault, user: UserId, sid: AuthSessionId, now: DateTime<Utc>) -> String {
    let mut token = Vec::from(user.0.as_bytes());
    token.extend(sid.0.as_bytes());
    token.extend((now + LIFE).timestamp().to_be_bytes());
    let tag = vault.hash(PURPOSE, &[&token]);
    token.extend(tag);
    URL_SAFE_NO_PAD.encode(token)
}

/// Reads a token.
pub(crate) fn open(vault: &Vault, token: &str, now: DateTime<Utc>) -> Opened {
    let Ok(token) = URL_SAFE_NO_PAD.decode(token) else { return Opened::NotOurs };
    let Some((body, tag)) = token.split_at_checked(BODY_LEN) else { return Opened::NotOurs };
    if !vault.matches(PURPOSE, &[body], tag) {
        return Opened::NotOurs;
    }
    let id = |at: usize| Uuid::from_slice(&body[at..at + 16]).unwrap_or_default();
    let mut ends = [0; 8];
    ends.copy_from_slice(&body[32..]);
    if i64::from_be_bytes(ends) <= now.timestamp() {
        return Opened::Expired;
    }
    Opened::Session(id(0).into(), id(16).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    #[test]
    fn i089_a_session_link_is_good_for_a_week_and_for_its_session_only() {
        let (user, sid) = (Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let token = seal(&vault(1), user, sid, now);
        assert_eq!(open(&vault(1), &token, now), Opened::Session(user, sid));
        assert_eq!(open(&vault(1), &token, now + LIFE), Opened::Expired);
        assert_eq!(open(&vault(2), &token, now), Opened::NotOurs);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_eq!(open(&vault(1), &URL_SAFE_NO_PAD.encode(changed), now), Opened::NotOurs);
        }
        assert_eq!(open(&vault(1), "", now), Opened::NotOurs);
    }
}

//! Recovery codes: ten, shown once, each good once in place of a code of the authenticator app.

use lectern_core::{Call, Outcome};
use lectern_subjects::Refusal;
use lectern_subjects::identity::{IdentityRefusal, MakeRecoveryCodes, RecoveryCodes};
use serde_json::json;
use sqlx::query;
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::mfa;
use crate::mfa::step_up;
use crate::vault::Vault;

/// How many there are.
const CODES: usize = 10;
/// Letters and digits that are not taken for each other; 32 of them, so that five bits are one.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Makes new ones; those before are void. They stand in for an authenticator app, so there has to be one.
pub async fn make(app: App, call: Call, _req: MakeRecoveryCodes) -> Outcome<MakeRecoveryCodes> {
    mfa::is_on(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    if !mfa::kinds(&mut *tx, caller.user).await?.iter().any(|kind| kind == "totp") {
        return Err(IdentityRefusal::CredentialNotFound.because(json!({ "kind": "totp" })).into());
    }
    let now = tx.now();
    let replaced =
        query!("DELETE FROM identity.credentials WHERE user_id = $1 AND kind = 'recovery'", caller.user.0)
            .execute(&mut *tx)
            .await?
            .rows_affected();
    let codes = (0..CODES).map(|_| code(app.vault())).collect::<anyhow::Result<Vec<String>>>();
    let codes = codes.map_err(Fault::Broken)?;
    let ids: Vec<Uuid> = codes.iter().map(|_| app.clock().new_id()).collect();
    let hashes: Vec<Vec<u8>> =
        codes.iter().map(|code| mfa::recovery_hash(&app, caller.user, code).to_vec()).collect();
    query!(
        "INSERT INTO identity.credentials (id, user_id, kind, external_key, created_at, confirmed_at)
         SELECT id, $3, 'recovery', hash, $4, $4 FROM unnest($1::uuid[], $2::bytea[]) AS made (id, hash)",
        &ids,
        &hashes,
        caller.user.0,
        now
    )
    .execute(&mut *tx)
    .await?;
    let action = if replaced > 0 { "replaced" } else { "added" };
    mfa::changed(&mut tx, &app, caller.user, &account.email, "recovery", action).await?;
    Ok(tx.commit(RecoveryCodes { codes }).await?)
}

/// 50 random bits as `xxxxx-xxxxx`; more than enough where five wrong ones lock for a quarter of an hour.
fn code(vault: &Vault) -> anyhow::Result<String> {
    let letters = vault.random::<10>()?.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let (first, second) = letters.split_at(5);
    Ok(first.iter().chain(&['-']).chain(second).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::vault;

    #[test]
    fn codes_differ_and_can_be_read_aloud() {
        let vault = vault(1);
        let codes: std::collections::HashSet<_> = (0..100).map(|_| code(&vault).unwrap()).collect();
        assert_eq!(codes.len(), 100);
        for code in codes {
            assert_eq!((code.len(), code.as_bytes()[5]), (11, b'-'));
            assert!(code.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)), "{code}");
        }
    }
}

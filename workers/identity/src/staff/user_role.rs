//! Roles are given and taken (`spec/protocols.md` P4): access tokens that say otherwise are void when it is answered.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{IdentityRefusal, SetRole, UserRoleChanged};
use lectern_subjects::{CommonRefusal, Refusal, Role};
use serde_json::json;
use sqlx::query_scalar;

use crate::account;
use crate::app::{App, Fault};
use crate::session::revocation;

/// Sets the roles of a user. Repeating it, after a 503 for example, tells the bucket again.
pub async fn set_role(app: App, call: Call, req: SetRole) -> Outcome<SetRole> {
    let (id, roles) = (req.id, asked(&req)?);
    let role = roles.iter().max().copied().unwrap_or(Role::User);
    let mut tx = app.begin_patiently(&call).await?;
    let mut user = account::locked(&mut tx, &app, &call, id).await?.user;
    user.roles.sort_unstable();
    if user.roles != roles {
        let now = tx.now();
        let names: Vec<String> = roles.iter().map(Role::to_string).collect();
        user.version = query_scalar!(
            "UPDATE identity.users SET role = $2, roles = $3, updated_at = $4, version = version + 1
             WHERE id = $1 RETURNING version",
            id.0,
            role.name(),
            &names,
            now
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(account::last_admin)?;
        revocation::change_claims(&mut tx, id).await?;
        let old = std::mem::replace(&mut user.roles, roles.clone());
        user.role = role;
        // seed 001 records the new role under this name
        let details = json!({ "old": old, "new": roles, "new_role": role });
        tx.audit("user.role_changed", Some(id), details).await?;
        let fact = UserRoleChanged { user_id: id, old, new: roles };
        tx.announce(&fact, user.version).await?;
    }
    let user = tx.commit(user).await?;
    revocation::tell_all_of(&app, id).await?;
    tracing::info!(event = "user_role_changed", about = %id, role = role.name(), "roles were set");
    Ok(user)
}

/// The roles to be, lowest first, each once.
fn asked(req: &SetRole) -> Result<Vec<Role>, Fault> {
    let mut roles = match (req.role, &req.roles) {
        (Some(role), None) => vec![role],
        (None, Some(roles)) => roles.clone(),
        _ => {
            let details = json!([{ "pointer": "/role", "reason": "exactly one of role and roles" }]);
            return Err(CommonRefusal::ValidationFailed.because(details).into());
        }
    };
    // machines get tokens, not accounts
    if roles.contains(&Role::Service) {
        return Err(IdentityRefusal::RoleNotAssignable.into());
    }
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

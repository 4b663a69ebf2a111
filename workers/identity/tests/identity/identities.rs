//! Identities of an account that is there: linked by its owner, listed, unlinked; and accounts without a password.

use std::sync::Arc;

use lectern_subjects::identity::*;
use tokio::task::JoinSet;

use crate::factors::{Device, ON};
use crate::oidc::{answer_at, with_provider};
use crate::world::{PASSWORD, World, login, sid};
use lectern_workbench::idp::{Idp, person};

impl World {
    /// Begins to link, and brings the provider's answer back.
    pub async fn fetches_link(&self, pair: &TokenPair) -> OidcCallback {
        let request = LinkIdentity { provider: "mock".to_owned() };
        let started = self.ok(&request, Some(&pair.access_token)).await;
        answer_at(&Idp::visit(&started.url).await, &started.binding)
    }

    async fn links(&self, pair: &TokenPair) -> Result<Identity, String> {
        let answer = self.fetches_link(pair).await;
        match self.ask(&answer, None).await {
            Ok(OidcAnswer::Linked(identity)) => Ok(identity),
            Ok(OidcAnswer::SignedIn(_)) => panic!("signed in"),
            Err(refusal) => Err(refusal.problem.error_code),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_an_identity_is_linked_by_who_is_signed_in_and_signs_in_from_then_on() {
    let (world, idp) = with_provider(&[]).await;
    let alice = world.registers("alice@example.org").await;
    let pair = world.logs_in("alice@example.org").await;
    let token = Some(pair.access_token.as_str());
    // another address there: what links is that she is signed in here
    idp.now(|manners| {
        manners.person = person("sub-alice", "al@elsewhere.example");
        manners.person["email_verified"] = false.into();
    });
    let identity = world.links(&pair).await.expect("linked");
    assert_eq!(world.links(&pair).await.expect("linked already").id, identity.id);
    let signed_in = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    assert_eq!(world.ok(&GetMe {}, Some(&signed_in.access_token)).await.id, alice.id);
    // nobody else gets it
    world.registers("bob@example.org").await;
    let bob = world.logs_in("bob@example.org").await;
    assert_eq!(world.links(&bob).await.unwrap_err(), "USER_1110");
    assert_eq!(
        world.refused(&UnlinkIdentity { id: identity.id }, Some(&bob.access_token)).await,
        "USER_1109"
    );
    assert!(world.ok(&ListIdentities::default(), Some(&bob.access_token)).await.items.is_empty());
    assert_eq!(world.ok(&ListIdentities::default(), token).await.items.len(), 1);
    world.ok(&UnlinkIdentity { id: identity.id }, token).await;
    assert_eq!(world.refused(&UnlinkIdentity { id: identity.id }, token).await, "USER_1109");
    assert_eq!(world.federates_not().await.0, "USER_1102");
    for fact in ["identity.linked", "identity.unlinked"] {
        assert_eq!((world.announced(fact).await, world.audited(fact).await.len()), (1, 1), "{fact}");
        let audited = &world.audited(fact).await[0];
        assert_eq!(audited["actor_id"], serde_json::json!(alice.id), "{audited}");
    }
    // a code came first
    let letters = world.letters("alice@example.org", 3).await;
    assert_eq!(letters[1]["subject"], "You can sign in with Mock now");
    assert_eq!(letters[2]["subject"], "You can no longer sign in with Mock");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_linking_needs_a_recent_proof_and_its_session_to_last() {
    let (world, _idp) = with_provider(&[("STEP_UP_MAX_AGE_SECONDS", "2")]).await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    let link = LinkIdentity { provider: "mock".to_owned() };
    assert_eq!(world.refused(&link, None).await, "USER_1006");
    let answer = world.fetches_link(&pair).await;
    world.ok(&Logout { all: false }, Some(&pair.access_token)).await;
    assert_eq!(world.refused(&answer, None).await, "USER_1011");
    let pair = world.logs_in("a@example.org").await;
    let stays = world.links(&pair).await.expect("linked");
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    let token = Some(pair.access_token.as_str());
    assert_eq!(world.refused(&link, token).await, "USER_1009");
    assert_eq!(world.refused(&UnlinkIdentity { id: stays.id }, token).await, "USER_1009");
    assert_eq!(world.made().await[2], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_user_1108_the_last_way_in_stays_of_identities_and_passkeys_together() {
    let (world, _idp) = with_provider(&[("PASSKEYS_ENABLED", "true")]).await;
    let world = Arc::new(world);
    world.run_identity().await;
    let pair = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let token = Some(pair.access_token.as_str());
    let identity = world.ok(&ListIdentities::default(), token).await.items[0].id;
    assert_eq!(world.refused(&UnlinkIdentity { id: identity }, token).await, "USER_1108");
    let passkey = world.adds_passkey(&pair, &mut Device::empty()).await.id;
    let mut crowd = JoinSet::new();
    for first in [true, false] {
        let (world, token) = (world.clone(), pair.access_token.clone());
        crowd.spawn(async move {
            let removed = match first {
                true => world.ask(&UnlinkIdentity { id: identity }, Some(&token)).await,
                false => world.ask(&RemovePasskey { id: passkey }, Some(&token)).await,
            };
            removed.map(drop).map_err(|refusal| refusal.problem.error_code)
        });
    }
    let mut outcomes = crowd.join_all().await;
    outcomes.sort();
    assert_eq!(outcomes, [Ok(()), Err("USER_1108".to_owned())]);
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_an_identity_of_a_provider_that_is_gone_is_no_way_in() {
    let (world, idp) = with_provider(&[]).await;
    let pair = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    idp.now(|manners| manners.person = person("sub-second", "x@example.org"));
    let second = world.links(&pair).await.expect("linked");
    world.db.execute("UPDATE identity.credentials SET public = jsonb_set(public, '{issuer}', '\"https://gone.example\"') WHERE last_used_at IS NULL AND created_at = (SELECT min(created_at) FROM identity.credentials)").await.unwrap();
    let token = Some(pair.access_token.as_str());
    assert_eq!(world.refused(&UnlinkIdentity { id: second.id }, token).await, "USER_1108");
}

#[tokio::test(flavor = "multi_thread")]
async fn i079_an_account_without_a_password_gets_its_first_by_a_mailed_link() {
    let (world, _idp) = with_provider(&[]).await;
    let email = "alice@example.org";
    let pair = world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let token = Some(pair.access_token.as_str());
    // no password is right, and none is told from a wrong one
    assert_eq!(world.refused(&login(email, PASSWORD), None).await, "USER_1001");
    let change = ChangePassword { current_password: String::new(), new_password: PASSWORD.to_owned() };
    assert_eq!(world.refused(&change, token).await, "USER_1001");
    let again = Reauthenticate { password: Some(PASSWORD.to_owned()), ..Reauthenticate::default() };
    assert_eq!(world.refused(&again, token).await, "USER_1001");
    world.ok(&ForgotPassword { email: email.to_owned() }, None).await;
    let link = world.link_token(email, 1).await;
    world.ok(&ResetPassword { token: link, new_password: PASSWORD.to_owned() }, None).await;
    // as after any new password, the sessions of before are ended
    assert_eq!(world.refused(&GetMe {}, token).await, "USER_1011");
    let by_password = world.logs_in(email).await;
    let token = Some(by_password.access_token.as_str());
    world.federates().await.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let identity = world.ok(&ListIdentities::default(), token).await.items[0].id;
    world.ok(&UnlinkIdentity { id: identity }, token).await;
    assert_ne!(sid(&by_password), sid(&pair));
}

/// Somebody signed up with her address before she did, and left ways in.
#[tokio::test(flavor = "multi_thread")]
async fn i005_a_reset_that_verifies_the_address_removes_what_was_there_to_sign_in_with() {
    let (world, idp) = with_provider(ON).await;
    world.registers("victim@example.org").await;
    let pair = world.logs_in("victim@example.org").await;
    idp.now(|manners| manners.person = person("sub-attacker", "attacker@elsewhere.example"));
    world.links(&pair).await.expect("linked");
    let mut device = Device::empty();
    world.adds_passkey(&pair, &mut device).await;
    let (there, _) = world.sets_up_app("victim@example.org").await;
    world.ok(&MakeRecoveryCodes {}, Some(&there.access_token)).await;
    let begun = world.fetches_link(&there).await;
    world.ok(&ForgotPassword { email: "victim@example.org".to_owned() }, None).await;
    let link = world.link_token("victim@example.org", 1).await;
    let reset = ResetPassword { token: link, new_password: "Blue-Kettle-42!".to_owned() };
    world.ok(&reset, None).await;
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 0);
    let signed = world.signed(&mut device).await;
    assert_eq!(world.refused(&signed, None).await, "USER_1008");
    assert_eq!(world.refused(&begun, None).await, "COMMON_0001", "a link under way");
    let verified = world.audited("user.email_verified").await;
    assert_eq!(
        verified[0]["details"],
        serde_json::json!({ "by": "password_reset", "credentials_removed": ["oidc", "passkey", "recovery", "totp"] })
    );
    // of an address that was verified before, a reset takes nothing
    let pair = world.ok(&login("victim@example.org", "Blue-Kettle-42!"), None).await;
    world.adds_passkey(&pair, &mut Device::empty()).await;
    world.ok(&ForgotPassword { email: "victim@example.org".to_owned() }, None).await;
    let link = world.link_token("victim@example.org", 2).await;
    world.ok(&ResetPassword { token: link, new_password: "Green-Teapot-43!".to_owned() }, None).await;
    assert_eq!(world.count("SELECT count(*) FROM identity.credentials").await, 1);
}

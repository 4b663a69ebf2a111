//! Every code by which identity refuses can be met at its door, with the status and the words of its table (I19).

use std::collections::BTreeSet;
use std::time::Duration;

use lectern_subjects::identity::*;
use lectern_subjects::{Request, Role};

use crate::factors::{Device, ON};
use crate::oidc::with_provider;
use crate::world::{PASSWORD, WRONG, World, login, register};

/// The codes that were met so far.
#[derive(Default)]
struct Met(BTreeSet<&'static str>);

impl Met {
    /// Asks what must be refused with this code.
    async fn refused<R: Request>(
        &mut self,
        world: &World,
        request: &R,
        token: Option<&str>,
        refusal: IdentityRefusal,
    ) {
        let code = lectern_subjects::Refusal::code(refusal);
        let answer = world.ask(request, token).await;
        let Err(answer) = answer else { panic!("{} is not refused with {}", R::SUBJECT, code.code) };
        let problem = &answer.problem;
        assert_eq!(
            (problem.error_code.as_str(), problem.status, problem.message.as_str()),
            (code.code, code.status, code.message),
            "{}: {}",
            R::SUBJECT,
            answer.body
        );
        assert!((world.clock().now() - problem.timestamp).num_seconds().abs() < 60, "{}", answer.body);
        self.0.insert(code.code);
    }
}

fn refresh(pair: &TokenPair) -> Refresh {
    Refresh { refresh_token: pair.refresh_token.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn i090_i091_i092_identity_i19_every_code_of_identity_is_reachable() {
    let mut met = Met::default();
    at_the_front_door(&mut met).await;
    inside(&mut met).await;
    with_second_factors(&mut met).await;
    at_a_provider(&mut met).await;
    let table: BTreeSet<&str> = IdentityRefusal::CODES.iter().map(|code| code.code).collect();
    let unmet: Vec<_> = table.difference(&met.0).collect();
    assert!(unmet.is_empty(), "no test meets {unmet:?}");
}

/// Sign-up, sign-in, refresh.
async fn at_the_front_door(met: &mut Met) {
    use IdentityRefusal as R;
    let settings = [
        ("LOGIN_REQUIRES_VERIFIED_EMAIL", "true"),
        ("SESSION_LIMIT_POLICY", "reject"),
        ("MAX_SESSIONS_PER_USER", "1"),
        ("REFRESH_GRACE_SECONDS", "0"),
    ];
    let world = World::start_with(&settings).await;
    let nowhere = Register { email: "nowhere".into(), ..register("a@example.org") };
    met.refused(&world, &nowhere, None, R::InvalidEmailFormat).await;
    let weak = Register { password: "password".into(), ..register("a@example.org") };
    met.refused(&world, &weak, None, R::WeakPassword).await;
    let admin = Register { role: Some(Role::Admin), ..register("a@example.org") };
    met.refused(&world, &admin, None, R::RoleNotAssignable).await;
    world.registers("a@example.org").await;
    met.refused(&world, &register("A@example.org"), None, R::EmailAlreadyExists).await;

    let right = login("a@example.org", PASSWORD);
    met.refused(&world, &login("a@example.org", WRONG), None, R::InvalidCredentials).await;
    met.refused(&world, &right, None, R::EmailNotVerified).await;
    let code = world.code("a@example.org", 1).await;
    let verify = |code: &str| VerifyEmail { email: "a@example.org".into(), code: code.to_owned() };
    let wrong = if code == "000000" { "000001" } else { "000000" };
    met.refused(&world, &verify(wrong), None, R::CodeInvalid).await;
    let minutes = "UPDATE identity.email_codes SET created_at = created_at - interval '10 minutes',
                   expires_at = expires_at - interval '10 minutes'";
    world.db.execute(minutes).await.unwrap();
    met.refused(&world, &verify(&code), None, R::CodeExpired).await;
    world.ok(&ResendVerification { email: "a@example.org".into() }, None).await;
    let code = world.code("a@example.org", 2).await;
    world.ok(&verify(&code), None).await;

    let first = world.ok(&right, None).await;
    met.refused(&world, &right, None, R::TooManySessions).await;
    let second = world.refreshes(&first).await.expect("rotated");
    met.refused(&world, &refresh(&first), None, R::RefreshTokenReused).await;
    met.refused(&world, &GetMe {}, Some(&second.access_token), R::TokenRevoked).await;
    let pair = world.ok(&right, None).await;
    world.db.execute("UPDATE identity.refresh_tokens SET expires_at = now()").await.unwrap();
    met.refused(&world, &refresh(&pair), None, R::SessionExpired).await;

    world.db.execute("UPDATE identity.users SET status = 'disabled'").await.unwrap();
    met.refused(&world, &right, None, R::AccountDisabled).await;
    for _ in 0..5 {
        met.refused(&world, &login("a@example.org", WRONG), None, R::InvalidCredentials).await;
    }
    met.refused(&world, &right, None, R::AccountLocked).await;
}

/// With a token, or without one.
async fn inside(met: &mut Met) {
    use IdentityRefusal as R;
    let world = World::start().await;
    let root = world.staff("root@example.org", Role::Admin).await;
    let pair = world.logs_in("root@example.org").await;
    let token = Some(pair.access_token.as_str());
    let nobody: uuid::Uuid = world.clock().new_id();
    met.refused(&world, &GetMe {}, None, R::TokenInvalid).await;
    met.refused(&world, &GetUser { id: nobody.into() }, token, R::UserNotFound).await;
    met.refused(&world, &GetErasure { id: nobody.into() }, token, R::ErasureNotFound).await;
    met.refused(&world, &RevokeAuthSession { sid: nobody.into() }, token, R::SessionNotFound).await;
    met.refused(&world, &DisableUser { id: root }, token, R::LastAdmin).await;
    let same = ChangePassword { current_password: PASSWORD.into(), new_password: PASSWORD.into() };
    met.refused(&world, &same, token, R::PasswordReused).await;
    let later = world.a_while_later(&pair).await;
    met.refused(&world, &same, Some(&later.access_token), R::ReauthenticationRequired).await;

    let pool = world.db.pool("identity", 1).await.unwrap();
    let (env, second) = (world.env(), Duration::from_secs(1));
    let short = lectern_identity::issue_service_token(&pool, &env, "short", &[], second, world.clock()).await;
    let short = short.expect("a token");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    met.refused(&world, &GetMe {}, Some(&short), R::TokenExpired).await;
}

async fn with_second_factors(met: &mut Met) {
    use IdentityRefusal as R;
    let world = World::start_with(ON).await;
    let (pair, app) = world.with_app("a@example.org").await;
    let token = Some(pair.access_token.as_str());
    met.refused(&world, &login("a@example.org", PASSWORD), None, R::MfaRequired).await;
    let mfa_token = world.mfa_token("a@example.org").await;
    let wrong = VerifyMfa { mfa_token, code: app.wrong(&world), device_token: None };
    met.refused(&world, &wrong, None, R::MfaInvalid).await;
    let nothing: uuid::Uuid = world.clock().new_id();
    met.refused(&world, &RemovePasskey { id: nothing.into() }, token, R::CredentialNotFound).await;
    let passkey = world.adds_passkey(&pair, &mut Device::empty()).await;
    world.ok(&RemoveTotp {}, token).await;
    world.db.execute("UPDATE identity.users SET password_hash = NULL").await.unwrap();
    met.refused(&world, &RemovePasskey { id: passkey.id }, token, R::LastCredential).await;
}

async fn at_a_provider(met: &mut Met) {
    use IdentityRefusal as R;
    let (world, idp) = with_provider(&[]).await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    for (email, linked) in [("a@example.org", true), ("b@example.org", false)] {
        let pair = world.logs_in(email).await;
        let answer = world.fetches_link(&pair).await;
        if linked {
            world.ok(&answer, None).await;
        } else {
            met.refused(&world, &answer, None, R::IdentityTaken).await;
        }
    }
    idp.now(|manners| manners.denies = true);
    met.refused(&world, &world.fetches_answer().await, None, R::FederationFailed).await;
}

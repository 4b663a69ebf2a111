//! A refresh beside whatever ends its session, in both orders, forced: the owner's row is held until both wait for it.

use std::sync::Arc;
use std::time::Duration;

use lectern_subjects::Role;
use lectern_subjects::identity::*;

use crate::world::{PASSWORD, World, claims, sid};

const NEW: &str = "Blue-Kettle-42!";

/// What ends a session.
const ENDS: [&str; 11] = [
    "sign-out",
    "sign-out of all",
    "its user, elsewhere",
    "its user, all others",
    "its refresh token given back",
    "its access token given back",
    "staff",
    "account switched off",
    "account deleted",
    "password changed",
    "password reset",
];

/// One session that is to end, and who may end it.
struct Scene {
    user: User,
    pair: TokenPair,
    /// Another session of the same user.
    elsewhere: String,
    admin: String,
    link: String,
}

async fn scene(world: &World, nth: usize, admin: &str) -> Scene {
    let email = format!("u{nth}@example.org");
    let user = world.registers(&email).await;
    let elsewhere = world.logs_in(&email).await.access_token;
    world.ok(&ForgotPassword { email: email.clone() }, None).await;
    let link = world.link_token(&email, 1).await;
    let pair = world.logs_in(&email).await;
    Scene { user, pair, elsewhere, admin: admin.to_owned(), link }
}

/// Ends the session; an error is the refusal's code.
async fn end(world: &World, how: &str, scene: &Scene) -> Result<(), String> {
    let (sid, id) = (sid(&scene.pair), scene.user.id);
    let (own, elsewhere, admin) =
        (Some(scene.pair.access_token.as_str()), Some(scene.elsewhere.as_str()), Some(scene.admin.as_str()));
    let given_back =
        |token: &String| RevokeToken { token: token.clone(), token_type_hint: None, client_id: None };
    let change = ChangePassword { current_password: PASSWORD.to_owned(), new_password: NEW.to_owned() };
    let reset = ResetPassword { token: scene.link.clone(), new_password: NEW.to_owned() };
    let outcome = match how {
        "sign-out" => world.ask(&Logout { all: false }, own).await.map(drop),
        "sign-out of all" => world.ask(&Logout { all: true }, elsewhere).await.map(drop),
        "its user, elsewhere" => world.ask(&RevokeAuthSession { sid }, elsewhere).await.map(drop),
        "its user, all others" => world.ask(&RevokeOtherAuthSessions {}, elsewhere).await.map(drop),
        "its refresh token given back" => {
            world.ask(&given_back(&scene.pair.refresh_token), None).await.map(drop)
        }
        "its access token given back" => {
            world.ask(&given_back(&scene.pair.access_token), None).await.map(drop)
        }
        "staff" => world.ask(&RevokeUserSessions { id }, admin).await.map(drop),
        "account switched off" => world.ask(&DisableUser { id }, admin).await.map(drop),
        "account deleted" => world.ask(&DeleteUser { id }, admin).await.map(drop),
        "password changed" => world.ask(&change, elsewhere).await.map(drop),
        "password reset" => world.ask(&reset, None).await.map(drop),
        other => panic!("{other}"),
    };
    outcome.map_err(|refusal| refusal.problem.error_code)
}

/// Whether so many requests come to wait for a lock, within less than a lock's timeout.
async fn waiting(world: &World, count: i64) -> bool {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..40 {
        if world.count(waiting).await >= count {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

/// Lets both run in this order; none when the machine was too slow for it, and nothing has happened.
async fn in_order(
    world: &Arc<World>,
    how: &'static str,
    scene: &Arc<Scene>,
    end_first: bool,
) -> Option<(Result<TokenPair, String>, Result<(), String>)> {
    let ends = || {
        let (world, scene) = (world.clone(), scene.clone());
        tokio::spawn(async move { end(&world, how, &scene).await })
    };
    let refreshes = || {
        let (world, pair) = (world.clone(), scene.pair.clone());
        tokio::spawn(async move { world.refreshes(&pair).await })
    };
    let mut keeper = world.db.connect().await.expect("connected");
    let hold = format!("BEGIN; SELECT FROM identity.users WHERE id = '{}' FOR UPDATE", scene.user.id);
    sqlx::raw_sql(sqlx::AssertSqlSafe(hold)).execute(&mut keeper).await.expect("held");
    let (refreshed, ended, both);
    if end_first {
        ended = ends();
        let first = waiting(world, 1).await;
        refreshed = refreshes();
        both = first && waiting(world, 2).await;
    } else {
        refreshed = refreshes();
        let first = waiting(world, 1).await;
        ended = ends();
        both = first && waiting(world, 2).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut keeper).await.expect("let go");
    let (refreshed, ended) = (refreshed.await.expect("joined"), ended.await.expect("joined"));
    both.then_some((refreshed, ended))
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i2_whatever_ends_a_session_no_refresh_before_or_after_it_leaves_a_live_token() {
    let world = Arc::new(World::start_with(&[("MAX_SESSIONS_PER_USER", "0")]).await);
    world.run_identity().await;
    world.staff("admin@example.org", Role::Admin).await;
    let admin = world.logs_in("admin@example.org").await.access_token;
    let mut nth = 0;
    for how in ENDS {
        for end_first in [true, false] {
            // a machine that is busy has more tries
            let (scene, refreshed) = loop {
                nth += 1;
                assert!(nth < 200, "never in order: {how}, {end_first}");
                let scene = Arc::new(scene(&world, nth, &admin).await);
                match in_order(&world, how, &scene, end_first).await {
                    Some((refreshed, Ok(()))) => break (scene, refreshed),
                    Some((_, Err(code))) => assert_eq!(code, "COMMON_0010", "{how} was refused"),
                    None => {}
                }
            };
            let case = format!("{how}, {}", if end_first { "before the refresh" } else { "after it" });
            // the order was the one that was forced
            assert_eq!(refreshed.is_err(), end_first, "{case}: {refreshed:?}");
            let newest = refreshed.as_ref().unwrap_or(&scene.pair);
            let uv = claims(&newest.access_token)["uv"].as_i64().expect("a number");
            let check = CheckToken { sid: sid(newest), user: scene.user.id, uv };
            assert!(!world.ok(&check, None).await.active, "{case}: its access token lives");
            assert!(world.is_told(sid(newest)).await, "{case}: nobody was told");
            for pair in [newest, &scene.pair] {
                assert!(world.refreshes(pair).await.is_err(), "{case}: its refresh token lives");
            }
            let live = format!(
                "SELECT count(*) FROM identity.auth_sessions WHERE sid = '{}' AND revoked_at IS NULL",
                sid(newest)
            );
            assert_eq!(world.count(&live).await, 0, "{case}");
        }
    }
    println!("{} orders of {} ends, {nth} tries", ENDS.len() * 2, ENDS.len());
}

//! Where somebody is signed in, and was; ending sessions.

use std::sync::Arc;

use lectern_subjects::id::AuthSessionId;
use lectern_subjects::identity::*;
use lectern_subjects::{Page, Request};
use serde_json::json;

use crate::world::{PASSWORD, WRONG, World, claims, login, sid};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/18.7 Mobile/15E148 Safari/604.1";
const DESK: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

fn sids(page: &Page<AuthSession>) -> Vec<AuthSessionId> {
    page.items.iter().map(|session| session.sid).collect()
}

/// Every page of two rows, in order.
async fn pages<R, T>(world: &World, token: &str, page: impl Fn(Option<String>) -> R) -> Vec<T>
where
    R: Request<Reply = Page<T>>,
{
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let answer = world.ok(&page(cursor), Some(token)).await;
        assert!(answer.items.len() <= 2);
        rows.extend(answer.items);
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i026_a_user_sees_where_they_are_signed_in_and_nobody_elses() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    let desk = world.logs_in_from("a@example.org", "203.0.113.7", DESK).await;
    let phone = world.logs_in_from("a@example.org", "2001:db8::7", PHONE).await;
    let bus = world.logs_in("a@example.org").await;
    let theirs = world.logs_in("b@example.org").await;

    let all = world.ok(&ListAuthSessions::default(), Some(&phone.access_token)).await;
    assert_eq!(sids(&all), [sid(&bus), sid(&phone), sid(&desk)], "newest first");
    assert_eq!(all.items.iter().map(|session| session.current).collect::<Vec<_>>(), [false, true, false]);
    let seen = |session: &AuthSession| {
        (session.ip.clone().unwrap_or_default(), session.device_name.clone().unwrap_or_default())
    };
    assert_eq!(seen(&all.items[1]), ("2001:db8::7".into(), "Safari on iPhone".into()));
    assert_eq!(seen(&all.items[2]), ("203.0.113.7".into(), "Firefox on Linux".into()));
    assert_eq!(
        (&all.items[0].ip, &all.items[0].user_agent, &all.items[0].device_name),
        (&None, &None, &None)
    );
    assert_eq!(all.items[1].user_agent.as_deref(), Some(PHONE));
    assert_eq!(all.items[1].amr, ["pwd"]);
    assert!(all.items[1].expires_at > all.items[1].last_seen_at);
    assert_eq!(
        sids(&world.ok(&ListAuthSessions::default(), Some(&theirs.access_token)).await),
        [sid(&theirs)]
    );

    let paged: Vec<AuthSession> =
        pages(&world, &desk.access_token, |cursor| ListAuthSessions { limit: Some(2), cursor }).await;
    assert_eq!(paged.iter().map(|session| session.sid).collect::<Vec<_>>(), sids(&all));
    let foreign = ListAuthSessions { limit: None, cursor: Some("no cursor".into()) };
    assert_eq!(world.refused(&foreign, Some(&desk.access_token)).await, "COMMON_0001");
}

#[tokio::test(flavor = "multi_thread")]
async fn i026_what_is_ended_or_ran_out_is_not_listed() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let (ended, over, kept) = (
        world.logs_in("a@example.org").await,
        world.logs_in("a@example.org").await,
        world.logs_in("a@example.org").await,
    );
    world.ok(&Logout { all: false }, Some(&ended.access_token)).await;
    let age =
        format!("UPDATE identity.auth_sessions SET expires_at_idle = now() WHERE sid = '{}'", sid(&over));
    world.db.execute(&age).await.unwrap();
    let listed = world.ok(&ListAuthSessions::default(), Some(&kept.access_token)).await;
    assert_eq!(sids(&listed), [sid(&kept)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i026_a_refresh_says_where_the_session_is_now() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in_from("a@example.org", "203.0.113.7", DESK).await;
    let refresh = Refresh { refresh_token: pair.refresh_token.clone() };
    let client = lectern_core::call::ClientInfo::new(Some("198.51.100.9".parse().unwrap()), Some(DESK));
    let refreshed = world.ask_with(&refresh, None, |outgoing| outgoing.client = client).await;
    let refreshed = refreshed.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    let listed = world.ok(&ListAuthSessions::default(), Some(&refreshed.access_token)).await;
    assert_eq!(listed.items[0].ip.as_deref(), Some("198.51.100.9"));
    assert!(listed.items[0].last_seen_at > listed.items[0].created_at);
    // a refresh over the bus does not make it unknown
    let again = world.refreshes(&refreshed).await.unwrap();
    let listed = world.ok(&ListAuthSessions::default(), Some(&again.access_token)).await;
    assert_eq!(listed.items[0].ip.as_deref(), Some("198.51.100.9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_session_that_its_user_ends_is_told_before_the_answer() {
    let world = World::start().await;
    let user = world.registers("a@example.org").await;
    let here = world.logs_in("a@example.org").await;
    let there = world.logs_in("a@example.org").await;
    let end = RevokeAuthSession { sid: sid(&there) };
    world.ok(&end, Some(&here.access_token)).await;
    assert!(world.is_told(sid(&there)).await && !world.is_told(sid(&here)).await);
    assert_eq!(world.refreshes(&there).await.unwrap_err(), "USER_1011");
    let entries = world.audited("session.revoked").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["details"], json!({ "sids": [sid(&there)], "reason": "logout" }));
    assert_eq!((&entries[0]["actor_id"], &entries[0]["user_id"]), (&json!(user.id), &json!(user.id)));
    // once is enough: the same again changes nothing
    world.ok(&end, Some(&here.access_token)).await;
    assert_eq!(
        (world.announced("session.revoked").await, world.audited("session.revoked").await.len()),
        (1, 1)
    );
    world.refreshes(&here).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i092_another_users_session_is_not_found_and_lives_on() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    let mine = world.logs_in("a@example.org").await;
    let theirs = world.logs_in("b@example.org").await;
    let unknown: AuthSessionId = world.clock().new_id().into();
    for sid in [sid(&theirs), unknown] {
        let refusal =
            world.ask(&RevokeAuthSession { sid }, Some(&mine.access_token)).await.expect_err("not theirs");
        assert_eq!((refusal.problem.error_code.as_str(), refusal.problem.status), ("USER_1201", 404));
        assert!(!world.is_told(sid).await);
    }
    world.refreshes(&theirs).await.unwrap();
    assert_eq!(world.announced("session.revoked").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i026_all_other_sessions_end_and_this_one_stays() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    let others = [world.logs_in("a@example.org").await, world.logs_in("a@example.org").await];
    let here = world.logs_in("a@example.org").await;
    let theirs = world.logs_in("b@example.org").await;
    let answer = world.ok(&RevokeOtherAuthSessions {}, Some(&here.access_token)).await;
    assert_eq!(answer.message, "Other sessions ended: 2");
    for other in &others {
        assert!(world.is_told(sid(other)).await);
        assert_eq!(world.refreshes(other).await.unwrap_err(), "USER_1011");
    }
    let listed = world.ok(&ListAuthSessions::default(), Some(&here.access_token)).await;
    assert_eq!(sids(&listed), [sid(&here)]);
    world.refreshes(&here).await.unwrap();
    world.refreshes(&theirs).await.unwrap();
    let none = world.ok(&RevokeOtherAuthSessions {}, Some(&here.access_token)).await;
    assert_eq!(none.message, "Other sessions ended: 0");
    assert_eq!(world.audited("session.revoked").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_revocation_that_the_bucket_did_not_take_is_503_until_it_has_it() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let here = world.logs_in("a@example.org").await;
    let one = world.logs_in("a@example.org").await;
    let two = world.logs_in("a@example.org").await;
    let token = Some(here.access_token.as_str());
    world.delete_bucket().await;
    assert_eq!(world.refused(&RevokeAuthSession { sid: sid(&one) }, token).await, "COMMON_0010");
    assert_eq!(world.refused(&RevokeOtherAuthSessions {}, token).await, "COMMON_0010");
    // the sweep is kept from telling them: what is told now, the repetition tells
    let wait = "UPDATE identity.pending_revocations SET due_at = now() + interval '1 day'";
    world.db.execute(wait).await.unwrap();
    assert_eq!(world.refused(&RevokeAuthSession { sid: sid(&one) }, token).await, "COMMON_0010");
    assert_eq!(world.refused(&RevokeOtherAuthSessions {}, token).await, "COMMON_0010");
    world.make_bucket().await;
    world.ok(&RevokeOtherAuthSessions {}, token).await;
    assert!(world.is_told(sid(&one)).await && world.is_told(sid(&two)).await);
    assert_eq!(world.count("SELECT count(*) FROM identity.pending_revocations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_i2_after_a_revocation_no_refresh_that_ran_beside_it_leaves_a_live_token() {
    let world = Arc::new(World::start_with(&[("MAX_SESSIONS_PER_USER", "0")]).await);
    world.run_identity().await;
    world.registers("a@example.org").await;
    let here = world.logs_in("a@example.org").await;
    let mut refreshed = 0;
    for round in 0..20 {
        let pair = world.logs_in("a@example.org").await;
        let beside = {
            let (world, pair) = (world.clone(), pair.clone());
            tokio::spawn(async move { world.refreshes(&pair).await })
        };
        if round % 2 == 0 {
            world.ok(&RevokeAuthSession { sid: sid(&pair) }, Some(&here.access_token)).await;
        } else {
            world.ok(&RevokeOtherAuthSessions {}, Some(&here.access_token)).await;
        }
        let user = claims(&pair.access_token)["sub"].as_str().unwrap().parse().unwrap();
        assert!(!world.ok(&CheckToken { sid: sid(&pair), user, uv: 1 }, None).await.active);
        match beside.await.unwrap() {
            Ok(child) => {
                refreshed += 1;
                assert_eq!(world.refreshes(&child).await.unwrap_err(), "USER_1011");
            }
            Err(code) => assert_eq!(code, "USER_1011"),
        }
    }
    println!("{refreshed} of 20 refreshes came before the revocation");
}

#[tokio::test(flavor = "multi_thread")]
async fn i051_i053_sign_ins_and_sign_outs_are_kept_with_where_they_came_from() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    world.registers("b@example.org").await;
    let client =
        |agent: &str| lectern_core::call::ClientInfo::new(Some("203.0.113.7".parse().unwrap()), Some(agent));
    let request = login("a@example.org", WRONG);
    let wrong = world.ask_with(&request, None, |outgoing| outgoing.client = client("curl/8.9.1"));
    assert!(wrong.await.is_err());
    let pair = world.logs_in_from("a@example.org", "198.51.100.9", DESK).await;
    let request = Logout { all: false };
    let out = world.ask_with(&request, Some(&pair.access_token), |outgoing| outgoing.client = client(DESK));
    assert!(out.await.is_ok());
    let pair = world.logs_in("a@example.org").await;
    let token = Some(pair.access_token.as_str());

    let history = world.ok(&ListLoginHistory::default(), token).await;
    let rows: Vec<_> = history
        .items
        .iter()
        .map(|row| {
            (
                row.action,
                row.success,
                row.failure_reason.as_deref(),
                row.ip_address.as_deref(),
                row.user_agent.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (LoginAction::Login, true, None, None, None),
            (LoginAction::Logout, true, None, Some("203.0.113.7"), Some(DESK)),
            (LoginAction::Login, true, None, Some("198.51.100.9"), Some(DESK)),
            (LoginAction::Login, false, Some("invalid_password"), Some("203.0.113.7"), Some("curl/8.9.1")),
        ]
    );
    assert!(history.items.is_sorted_by(|a, b| a.timestamp >= b.timestamp) && history.next_cursor.is_none());
    let theirs = world.ok(&login("b@example.org", PASSWORD), None).await;
    assert_eq!(world.ok(&ListLoginHistory::default(), Some(&theirs.access_token)).await.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i051_pages_of_sign_ins_show_each_row_once_also_those_of_one_moment() {
    let world = World::start().await;
    world.registers("a@example.org").await;
    let pair = world.logs_in("a@example.org").await;
    for _ in 0..4 {
        assert_eq!(world.refused(&login("a@example.org", WRONG), None).await, "USER_1001");
    }
    let one_moment = "UPDATE identity.login_history SET created_at = date_trunc('second', created_at) - interval '1 minute'
                      WHERE NOT success";
    world.db.execute(one_moment).await.unwrap();
    let whole = world.ok(&ListLoginHistory::default(), Some(&pair.access_token)).await.items;
    assert_eq!(whole.len(), 5);
    let paged: Vec<LoginRecord> =
        pages(&world, &pair.access_token, |cursor| ListLoginHistory { limit: Some(2), cursor }).await;
    assert_eq!(paged, whole);
    assert_eq!(world.count("SELECT count(*) FROM identity.login_history").await, 5);
}

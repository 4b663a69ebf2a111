//! What people and staff ask, and what identity does unasked, once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lectern_subjects::id::UserId;
use lectern_subjects::identity::*;
use lectern_subjects::privacy::ExportIdentity;
use lectern_subjects::{Request, Role};

use crate::world::{PASSWORD, WRONG, World, claims, login, register, sid};

pub struct Round<'a> {
    world: &'a World,
    /// Subjects of the requests.
    pub asked: BTreeSet<&'static str>,
    /// How long the first of each took, milliseconds.
    pub times: BTreeMap<&'static str, f64>,
}

impl<'a> Round<'a> {
    /// Everything, with fresh accounts.
    pub async fn play(world: &'a World, number: usize, people: u32) -> Round<'a> {
        let mut round = Round { world, asked: BTreeSet::new(), times: BTreeMap::new() };
        let email = format!("somebody{number}@example.org");
        let user: UserId = round.ok(&register(&email), None).await.id;
        round.people(&email, user).await;
        round.staff(number, people, user).await;
        round.sweeps().await;
        round
    }

    async fn ok<R: Request>(&mut self, request: &R, token: Option<&str>) -> R::Reply {
        let begun = Instant::now();
        let reply = self.world.ok(request, token).await;
        self.done::<R>(begun);
        reply
    }

    async fn refused<R: Request>(&mut self, request: &R, token: Option<&str>) {
        let begun = Instant::now();
        self.world.refused(request, token).await;
        self.done::<R>(begun);
    }

    fn done<R: Request>(&mut self, begun: Instant) {
        self.asked.insert(R::SUBJECT);
        self.times.entry(R::SUBJECT).or_insert(begun.elapsed().as_secs_f64() * 1000.0);
    }

    async fn people(&mut self, email: &str, user: UserId) {
        let world = self.world;
        world.ask_from("203.0.113.1", &login("nobody@example.org", WRONG)).await.expect_err("nobody");
        world.ask_from("203.0.113.2", &login(email, WRONG)).await.expect_err("wrong");
        world.logs_in_from(email, "203.0.113.3", "Firefox/145.0").await;
        // one more than there may be: the oldest goes
        for _ in 0..5 {
            self.ok(&login(email, PASSWORD), None).await;
        }
        let pair = self.ok(&login(email, PASSWORD), None).await;
        let first = pair.refresh_token.clone();
        let pair = self.ok(&Refresh { refresh_token: pair.refresh_token }, None).await;
        let pair = self.ok(&Refresh { refresh_token: pair.refresh_token }, None).await;
        let token = Some(pair.access_token.as_str());

        self.ok(&GetMe {}, token).await;
        self.ok(&GetAccount {}, token).await;
        self.ok(&GetUserinfo {}, token).await;
        self.ok(&GetJwks {}, None).await;
        let uv = claims(&pair.access_token)["uv"].as_i64().expect("a version");
        self.ok(&CheckToken { sid: sid(&pair), user, uv }, None).await;
        let history = ListLoginHistory { limit: Some(2), ..Default::default() };
        let cursor = self.ok(&history, token).await.next_cursor;
        self.ok(&ListLoginHistory { cursor, ..history }, token).await;
        let sessions = ListAuthSessions { limit: Some(2), ..Default::default() };
        let page = self.ok(&sessions, token).await;
        let other = page.items.iter().find(|session| !session.current).expect("another session").sid;
        self.ok(&ListAuthSessions { cursor: page.next_cursor, ..sessions }, token).await;
        self.ok(&ListPasskeys { limit: None, cursor: None }, token).await;
        self.ok(&ListProviders {}, None).await;
        self.ok(&ListIdentities::default(), token).await;
        self.ok(&ExportIdentity { cursor: None }, token).await;
        self.ok(&RevokeAuthSession { sid: other }, token).await;
        self.ok(&RevokeOtherAuthSessions {}, token).await;
        self.ok(&ResendVerification { email: email.to_owned() }, None).await;
        let wrong = VerifyEmail { email: email.to_owned(), code: "000000".to_owned() };
        self.refused(&wrong, None).await;
        self.ok(&ForgotPassword { email: email.to_owned() }, None).await;
        let password = format!("{PASSWORD}{}", user.0.simple());
        let change = ChangePassword { current_password: PASSWORD.to_owned(), new_password: password.clone() };
        self.ok(&change, token).await;
        let pair = self.ok(&login(email, &password), None).await;
        self.ok(&StartTotp {}, Some(&pair.access_token)).await;
        self.ok(&Logout { all: true }, Some(&pair.access_token)).await;
        // long consumed: its family has ended with the password
        self.refused(&Refresh { refresh_token: first }, None).await;
    }

    async fn staff(&mut self, number: usize, people: u32, user: UserId) {
        let world = self.world;
        let (admin, auditor) = (format!("admin{number}@example.org"), format!("auditor{number}@example.org"));
        world.staff(&admin, Role::Admin).await;
        world.staff(&auditor, Role::Auditor).await;
        let (admin, auditor) = (world.logs_in(&admin).await, world.logs_in(&auditor).await);
        let (admin, auditor) = (Some(admin.access_token.as_str()), Some(auditor.access_token.as_str()));

        // in the middle of everybody
        let middle = (world.clock().now() - chrono::TimeDelta::days(400)
            + chrono::TimeDelta::minutes(i64::from(people) / 2 * 5))
        .timestamp_micros();
        let middle = Some(format!("{middle:016x}{}", "0".repeat(32)));
        let starts = [None, Some("Kim"), Some("kim 0"), Some("abc"), Some("nobody begins so")];
        for q in starts.map(|start| start.map(str::to_owned)) {
            for role in [None, Some(Role::User), Some(Role::Moderator), Some(Role::Service)] {
                for active in [None, Some(true), Some(false)] {
                    for cursor in [None, middle.clone()] {
                        let list = ListUsers { role, active, q: q.clone(), limit: None, cursor };
                        self.ok(&list, admin).await;
                    }
                }
            }
        }
        self.ok(&GetUser { id: user }, admin).await;
        self.ok(&ListUserSessions { id: user, limit: None, cursor: None }, admin).await;
        self.ok(&IntrospectToken { token: admin.unwrap().to_owned(), token_type_hint: None }, admin).await;
        let erasure = "00000003-0000-7000-8008-000000000000".parse().expect("the third one's");
        self.ok(&GetErasure { id: erasure }, admin).await;
        let entries =
            (1..=20).map(|n| format!("{n:08x}-0000-7000-8009-000000000001").parse().unwrap()).collect();
        self.ok(&GetAuditPrivate { entry_ids: entries }, auditor).await;
        self.ok(&UnlockUser { id: user }, admin).await;
        self.ok(&RevokeUserSessions { id: user }, admin).await;
        self.ok(&SetRole { id: user, role: Some(Role::Moderator), roles: None }, admin).await;
        self.ok(&DisableUser { id: user }, admin).await;
        self.ok(&EnableUser { id: user }, admin).await;
        self.ok(&DeleteUser { id: user }, admin).await;
    }

    /// Waits for what is done unasked: nothing that was due is left.
    async fn sweeps(&self) {
        let left = "SELECT (SELECT count(*) FROM identity.auth_sessions WHERE expires_at_abs < now() - interval '60 days')
                         + (SELECT count(*) FROM identity.pending_revocations WHERE due_at <= now())
                         + (SELECT count(*) FROM identity.pending_claims WHERE due_at <= now())
                         + (SELECT count(*) FROM identity.mail_queue WHERE due_at <= now())
                         + (SELECT count(*) FROM identity.password_reset_requests)
                         + (SELECT count(*) FROM identity.counts WHERE counted_at < now() - interval '1 minute')";
        for _ in 0..1200 {
            if self.world.count(left).await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sweeps did not do what was due");
    }
}

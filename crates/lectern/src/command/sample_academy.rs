//! `lectern sample-academy`: a small academy to look at and to try things with. Running it again adds what is missing.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use lectern_core::Clock;
use lectern_core::bus::{Bus, Outgoing};
use lectern_core::config::Env;
use lectern_core::error::CallError;
use lectern_subjects::courses::{
    AddSession, CourseStatus, CreateCourse, ListCourses, ListSessions, PublishCourse, SetInstructors,
};
use lectern_subjects::enrollment::{CreatePlan, ListPlans};
use lectern_subjects::id::CourseId;
use lectern_subjects::identity::{CreateUser, GetMe, IdentityRefusal, Login};
use lectern_subjects::{Refusal, Refused, Request, Role};
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::token;
use crate::broker::api;
use crate::roles::SAMPLE_PASSWORD;
use crate::secrets::Secrets;

/// What the academy consists of.
const ACADEMY: &str = include_str!("sample_academy.json");

/// Make the sample academy: one account per role, a free course with its sessions, a plan. Prints one JSON line.
///
/// Needs a running system; refused in staging and production. Running it again adds what is missing and prints the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lectern sample-academy | jq .accounts")]
pub struct Args {}

#[derive(Deserialize)]
struct Academy {
    accounts: Vec<Account>,
    course: Value,
    sessions: Vec<Value>,
    plan: Value,
}

#[derive(Deserialize)]
struct Account {
    /// What it is called in the table of accounts: a role, or what the person does.
    label: String,
    role: Role,
    email: String,
    name: String,
}

struct Sample<'a> {
    bus: &'a Bus,
    clock: Clock,
}

pub async fn sample_academy(env: &Env, _args: &Args) -> anyhow::Result<()> {
    ensure!(!env.environment()?.is_strict(), "the sample academy is for development and test");
    let academy: Academy = serde_json::from_str(ACADEMY).context("sample_academy.json")?;
    let passwords = passwords(env, &academy.accounts)?;
    let bus = api::connect(env, "tools").await?;
    let sample = Sample { bus: &bus, clock: Clock::default() };

    let login = |label: &str| -> anyhow::Result<Login> {
        let found = academy.accounts.iter().zip(&passwords).find(|(account, _)| account.label == label);
        let (account, password) = found.with_context(|| format!("the academy has no {label}"))?;
        Ok(Login { email: account.email.clone(), password: password.clone(), device_token: None })
    };
    accounts(env, &sample, &academy.accounts, &passwords, &login("admin")?).await?;
    let operator = sample.signs_in(&login("operator")?).await?;
    let instructor = sample.signs_in(&login("instructor")?).await?;
    let instructor = sample.asks(Some(&instructor), &GetMe {}).await?.id;

    let course = course(&sample, &operator, &academy).await?;
    sample.asks(Some(&operator), &SetInstructors { id: course, user_ids: vec![instructor] }).await?;
    let plan = plan(&sample, &operator, &academy).await?;

    let accounts: Vec<Value> = academy
        .accounts
        .iter()
        .zip(&passwords)
        .map(|(account, password)| json!({ "role": account.label, "email": account.email, "password": password }))
        .collect();
    println!("{}", json!({ "accounts": accounts, "course_id": course, "plan_id": plan }));
    Ok(())
}

/// One password for all when the configuration says so; else one each, drawn from the installation's own key, so that a
/// second run prints the same.
fn passwords(env: &Env, accounts: &[Account]) -> anyhow::Result<Vec<String>> {
    if let Some(password) = env.get(&SAMPLE_PASSWORD) {
        return Ok(vec![password.to_owned(); accounts.len()]);
    }
    let secrets = Secrets::require(env)?;
    let own = secrets.identity_hash_key.or(secrets.kek).context("the secrets file has no key of identity")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, own.as_bytes());
    let drawn = accounts.iter().map(|account| {
        let tag = hmac::sign(&key, format!("sample academy {}", account.email).as_bytes());
        // the end holds one character of each kind that the rules ask for
        format!("{}-Aa1", BASE64_URL_SAFE_NO_PAD.encode(&tag.as_ref()[..12]))
    });
    Ok(drawn.collect())
}

/// The admin without a door, everybody else as the admin, through the front door.
async fn accounts(
    env: &Env,
    sample: &Sample<'_>,
    accounts: &[Account],
    passwords: &[String],
    admin: &Login,
) -> anyhow::Result<()> {
    let first = accounts.iter().find(|account| account.email == admin.email).context("an admin")?;
    let (env, pool) = token::identity(env)?;
    let made = lectern_identity::create_user_direct(
        &pool,
        &env,
        &sample.clock,
        &first.email,
        &first.name,
        first.role,
        &admin.password,
    )
    .await;
    if let Err(error) = made {
        let taken = error.downcast_ref::<Refused<IdentityRefusal>>();
        if taken.is_none_or(|refused| refused.refusal != IdentityRefusal::EmailAlreadyExists) {
            return Err(error.context(first.email.clone()));
        }
    }
    let admin = sample.signs_in(admin).await?;
    for (account, password) in
        accounts.iter().zip(passwords).filter(|(account, _)| account.email != first.email)
    {
        let wanted = CreateUser {
            email: account.email.clone(),
            name: account.name.clone(),
            role: Some(account.role),
            password: Some(password.clone()),
        };
        match sample.tries(Some(&admin), &wanted).await {
            Ok(_) => {}
            Err(CallError::Refused(problem))
                if problem.error_code == IdentityRefusal::EmailAlreadyExists.code().code => {}
            Err(error) => return Err(said(error).context(account.email.clone())),
        }
    }
    Ok(())
}

/// The course, found by its title or made; published, with all its sessions.
async fn course(sample: &Sample<'_>, operator: &str, academy: &Academy) -> anyhow::Result<CourseId> {
    let wanted: CreateCourse = typed(&academy.course)?;
    let mut found = None;
    for status in [CourseStatus::Published, CourseStatus::Draft] {
        let query =
            ListCourses { q: Some(wanted.title.clone()), status: Some(status), ..ListCourses::default() };
        let page = sample.asks(Some(operator), &query).await?;
        found = found.or(page.items.into_iter().find(|course| course.title == wanted.title));
    }
    let (id, status) = match found {
        Some(course) => (course.id, course.status),
        None => (sample.asks(Some(operator), &wanted).await?.id, CourseStatus::Draft),
    };
    let there = sample.asks(Some(operator), &ListSessions { course_id: id }).await?.items;
    for session in &academy.sessions {
        let mut session = session.clone();
        session["course_id"] = json!(id);
        let wanted: AddSession = typed(&session)?;
        if there.iter().all(|session| session.title != wanted.title) {
            sample.asks(Some(operator), &wanted).await?;
        }
    }
    if status == CourseStatus::Draft {
        sample.asks(Some(operator), &PublishCourse { id }).await?;
    }
    Ok(id)
}

async fn plan(sample: &Sample<'_>, operator: &str, academy: &Academy) -> anyhow::Result<Value> {
    let wanted: CreatePlan = typed(&academy.plan)?;
    let page = sample.asks(Some(operator), &typed::<ListPlans>(&json!({ "limit": 100 }))?).await?;
    let plan = match page.items.into_iter().find(|plan| plan.name == wanted.name) {
        Some(plan) => plan,
        None => sample.asks(Some(operator), &wanted).await?,
    };
    Ok(json!(plan.id))
}

fn typed<T: DeserializeOwned>(value: &Value) -> anyhow::Result<T> {
    serde_json::from_value(value.clone()).with_context(|| format!("sample_academy.json: {value}"))
}

impl Sample<'_> {
    async fn signs_in(&self, login: &Login) -> anyhow::Result<String> {
        match self.asks(None, login).await {
            Ok(pair) => Ok(pair.access_token),
            Err(error) => bail!("{} can't sign in: {error:#}", login.email),
        }
    }

    async fn asks<R: Request>(&self, token: Option<&str>, request: &R) -> anyhow::Result<R::Reply> {
        self.tries(token, request).await.map_err(|error| said(error).context(R::SUBJECT))
    }

    async fn tries<R: Request>(&self, token: Option<&str>, request: &R) -> Result<R::Reply, CallError> {
        let outgoing = Outgoing {
            token: token.map(Arc::from),
            deadline: self.clock.now() + TimeDelta::seconds(10),
            ..Outgoing::own(&self.clock)
        };
        self.bus.call_with(outgoing, request).await
    }
}

/// A refusal with everything that it says.
fn said(error: CallError) -> anyhow::Error {
    match error {
        CallError::Refused(problem) => {
            anyhow::anyhow!("{} {}: {}", problem.error_code, problem.message, problem.details)
        }
        other => other.into(),
    }
}

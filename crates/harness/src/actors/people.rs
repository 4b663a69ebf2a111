//! Who lives in a test's stack.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Actor, Bus};
use crate::testing::Stack;

/// Satisfies every rule for passwords: length, cases, digit, symbol.
const PASSWORD: &str = "Correct-Horse-7!";

impl Stack {
    /// A visitor without an account.
    pub fn anonymous(&self) -> Actor {
        Actor::anonymous(&self.http_url())
    }

    /// Somebody who has no account yet, with an address of their own: `registers()` is theirs to call.
    pub fn stranger(&self, name: &str) -> Actor {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let word: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        Actor::with_account(&self.http_url(), name, &format!("{word}.{count}@example.org"), PASSWORD)
    }

    /// A learner: registered, verified with the code from the mailbox, signed in.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn learner(&self, name: &str) -> Actor {
        let learner = self.stranger(name);
        learner.registers().await.created();
        let letter = self.mailbox().nth(&learner.email, 1).await.unwrap_or_else(|error| panic!("{error:#}"));
        let code = letter.code(6).unwrap_or_else(|| panic!("no code of six digits in {letter:?}")).to_owned();
        learner.verifies_email(&code).await.ok();
        learner.logs_in().await.ok();
        learner
    }

    /// An operator, made by `lectern admin create-user`, signed in.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn operator(&self) -> Actor {
        self.staff("operator").await
    }

    /// An admin, likewise.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn admin(&self) -> Actor {
        self.staff("admin").await
    }

    /// An auditor, likewise.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn auditor(&self) -> Actor {
        self.staff("auditor").await
    }

    /// A moderator, likewise.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn moderator(&self) -> Actor {
        self.staff("moderator").await
    }

    /// Somebody with `role`, made by `lectern admin create-user`, signed in.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn staff(&self, role: &str) -> Actor {
        let person = self.stranger(role);
        let args = [
            "admin",
            "create-user",
            "--email",
            &person.email,
            "--name",
            role,
            "--role",
            role,
            "--password-stdin",
        ];
        let ran = self.lectern_with_input(&args, &format!("{}\n", person.password)).await;
        ran.done().unwrap_or_else(|error| panic!("{error:#}"));
        person.logs_in().await.ok();
        person
    }

    /// A tool on the bus, as the development tools user, without a token.
    ///
    /// # Panics
    /// When the bus refuses.
    pub async fn bus(&self) -> Bus {
        let client = self.bus_as("tools").await;
        Bus::new(client.unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// A published free course of one session with a video elsewhere (60 s): the ids of course and session.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn published_course(&self, by: &Actor, title: &str) -> (String, String) {
        let course = by.creates_course(title).await.created().id();
        let video = "https://media.example.org/lesson.mp4";
        let session = by.adds_session(&course, "The first lesson", 60_000, video).await.created().id();
        by.publishes(&course).await.ok();
        (course, session)
    }
}

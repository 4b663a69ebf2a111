//! One Lectern for all tests that break nothing.

use std::sync::Mutex;
use std::time::Duration;

use lectern_harness::actors::Bus;
use lectern_harness::{Actor, Answer, Stack, StackOptions};
use tokio::sync::OnceCell;

use crate::contract::Contract;
use crate::road::Doors;

/// An id that nothing has.
pub const NOBODY: &str = "0192f0c1-2345-7abc-8def-0123456789ab";

/// A running Lectern with its contract and its staff.
pub struct House {
    pub stack: Stack,
    pub contract: Contract,
    staff: Vec<Account>,
}

struct Account {
    role: &'static str,
    email: String,
    password: String,
    token: String,
}

static HOUSE: OnceCell<House> = OnceCell::const_new();

/// The shared one, started by the first test that asks.
pub async fn house() -> &'static House {
    HOUSE.get_or_init(async || House::over(Stack::start(StackOptions::default()).await).await).await
}

impl House {
    /// A house of one's own.
    pub async fn over(stack: Stack) -> House {
        let contract = Contract::read(&stack).await;
        let mut staff = Vec::new();
        for role in ["operator", "admin", "auditor", "moderator"] {
            let person = stack.staff(role).await;
            let token = person.access_token().expect("signed in");
            staff.push(Account { role, email: person.email, password: person.password, token });
        }
        House { stack, contract, staff }
    }

    /// A member of staff, signed in. Each test has its own client: one that is shared ends with the first test's runtime.
    pub fn staff(&self, role: &str) -> Actor {
        let account = self.staff.iter().find(|account| account.role == role).expect("a role of the house");
        let actor = Actor::with_account(&self.stack.http_url(), role, &account.email, &account.password);
        actor.carries(&account.token);
        actor
    }

    /// Both roads to it.
    pub async fn doors(&self) -> Doors<'_> {
        let (contract, anyone, bus) = (&self.contract, self.stack.anonymous(), self.stack.bus().await);
        Doors { contract, anyone, bus, asked: Mutex::default() }
    }

    /// The bus, as this person.
    pub async fn bus_of(&self, person: &Actor) -> Bus {
        self.stack.bus().await.with_token(person.access_token().expect("signed in"))
    }
}

/// Asks until the answer is so, at most `bound`; then the last answer is the failure.
pub async fn until(
    bound: Duration,
    mut ask: impl AsyncFnMut() -> Answer,
    so: impl Fn(&Answer) -> bool,
) -> Answer {
    let end = tokio::time::Instant::now() + bound;
    loop {
        let answer = ask().await;
        if so(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "not so after {bound:?}: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

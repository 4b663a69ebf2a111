//! One person, signed in or not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::answer::Answer;
use super::ask::Ask;

/// A person with a browser. Clones share the sign-in.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What the test calls them.
    pub name: String,
    /// Their address; empty for anonymous visitors.
    pub email: String,
    /// Their password; empty for anonymous visitors.
    pub password: String,
    base: String,
    client: Client,
    tokens: Arc<Mutex<Option<Tokens>>>,
}

/// The pair of the last sign-in or refresh.
#[derive(Debug, Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Actor {
    /// A visitor without an account at the gateway `base`, for example `http://127.0.0.1:3000`.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    pub fn anonymous(base: &str) -> Actor {
        Actor::with_account(base, "anonymous", "", "")
    }

    /// Somebody with an account, not signed in yet ([`logs_in`](Actor::logs_in) does that).
    ///
    /// # Panics
    /// When no HTTP client can be made.
    pub fn with_account(base: &str, name: &str, email: &str, password: &str) -> Actor {
        // a test waits for what it waits for, not for a client's idea of long
        let client =
            Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("an HTTP client");
        Actor {
            name: name.to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            client,
            tokens: Arc::default(),
        }
    }

    /// A request with this person's access token, if they are signed in. A path under `/api/v1` (`/courses`), one that
    /// stands outside (`/health/liveness`), or a whole URL.
    pub fn asks(&self, method: Method, path: &str) -> Ask {
        Ask::new(&self.client, &self.base, method, path, self.access_token().as_deref())
    }

    /// GET.
    pub async fn gets(&self, path: &str) -> Answer {
        self.asks(Method::GET, path).send().await
    }

    /// POST with JSON.
    pub async fn posts(&self, path: &str, body: Value) -> Answer {
        self.asks(Method::POST, path).json(body).send().await
    }

    /// PATCH with JSON.
    pub async fn patches(&self, path: &str, body: Value) -> Answer {
        self.asks(Method::PATCH, path).json(body).send().await
    }

    /// PUT with JSON.
    pub async fn puts(&self, path: &str, body: Value) -> Answer {
        self.asks(Method::PUT, path).json(body).send().await
    }

    /// DELETE.
    pub async fn deletes(&self, path: &str) -> Answer {
        self.asks(Method::DELETE, path).send().await
    }

    /// The same person at another gateway, with the same sign-in.
    pub fn at(&self, base: &str) -> Actor {
        Actor { base: base.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// The access token of the last sign-in or refresh.
    pub fn access_token(&self) -> Option<String> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.access.clone())
    }

    /// The refresh token of the last sign-in or refresh.
    pub fn refresh_token(&self) -> Option<String> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.refresh.clone())
    }

    /// Uses another access token from now on: a forged or an old one.
    pub fn carries(&self, access: &str) {
        self.keep(
            &json!({ "access_token": access, "refresh_token": self.refresh_token().unwrap_or_default() }),
        );
    }

    /// Keeps the pair of an answer; anything else leaves the sign-in as it is.
    pub(super) fn keep(&self, answer: &Value) {
        if let (Some(access), Some(refresh)) =
            (answer["access_token"].as_str(), answer["refresh_token"].as_str())
        {
            let tokens = Tokens { access: access.to_owned(), refresh: refresh.to_owned() };
            *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokens);
        }
    }

    /// Throws the tokens away without telling anyone.
    pub fn forgets_tokens(&self) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

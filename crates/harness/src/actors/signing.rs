//! Accounts and sign-in.

use serde_json::json;

use super::{Actor, Answer};

impl Actor {
    /// POST /auth/register with this person's name, address and password.
    pub async fn registers(&self) -> Answer {
        let body = json!({ "email": self.email, "password": self.password, "name": self.name });
        self.posts("/auth/register", body).await
    }

    /// POST /auth/verify-email.
    pub async fn verifies_email(&self, code: &str) -> Answer {
        self.posts("/auth/verify-email", json!({ "email": self.email, "code": code })).await
    }

    /// POST /auth/login; a success is kept.
    pub async fn logs_in(&self) -> Answer {
        let body = json!({ "email": self.email, "password": self.password });
        let answer =
            self.asks(reqwest::Method::POST, "/auth/login").authorization(None).json(body).send().await;
        self.keep(&answer.json);
        answer
    }

    /// POST /auth/refresh with the last refresh token; a success is kept.
    pub async fn refreshes(&self) -> Answer {
        let answer = self.refreshes_with(&self.refresh_token().unwrap_or_default()).await;
        self.keep(&answer.json);
        answer
    }

    /// POST /auth/refresh with any refresh token; the answer is not kept.
    pub async fn refreshes_with(&self, token: &str) -> Answer {
        let ask = self.asks(reqwest::Method::POST, "/auth/refresh").authorization(None);
        ask.json(json!({ "refresh_token": token })).send().await
    }

    /// POST /auth/logout. The tokens are kept, so that a test can show that they are worth nothing now.
    pub async fn logs_out(&self) -> Answer {
        self.posts("/auth/logout", json!({})).await
    }

    /// GET /users/me.
    pub async fn looks_at_self(&self) -> Answer {
        self.gets("/users/me").await
    }

    /// The id of this person's account.
    ///
    /// # Panics
    /// When they aren't signed in.
    pub async fn user_id(&self) -> String {
        self.looks_at_self().await.ok().id()
    }
}

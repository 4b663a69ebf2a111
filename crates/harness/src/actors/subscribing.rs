//! Plans, subscriptions, notices.

use std::fmt::Display;

use serde_json::{Value, json};

use super::{Actor, Answer};

impl Actor {
    /// POST /plans: a free plan over the whole catalogue with a period such as `P1M` or `PT4S`.
    pub async fn creates_free_plan(&self, name: &str, interval: &str) -> Answer {
        let body =
            json!({ "name": name, "price": 0, "currency": "USD", "interval": interval, "scope": "catalog" });
        self.creates_plan(body).await
    }

    /// POST /plans with any body.
    pub async fn creates_plan(&self, body: Value) -> Answer {
        self.posts("/plans", body).await
    }

    /// POST /subscriptions.
    pub async fn subscribes(&self, plan: impl Display, auto_renew: bool) -> Answer {
        self.posts("/subscriptions", json!({ "plan_id": plan.to_string(), "auto_renew": auto_renew })).await
    }

    /// GET /subscriptions/{id}.
    pub async fn looks_at_subscription(&self, subscription: impl Display) -> Answer {
        self.gets(&format!("/subscriptions/{subscription}")).await
    }

    /// PATCH /subscriptions/{id}: renew at the end of the period, or not.
    pub async fn sets_auto_renew(&self, subscription: impl Display, auto_renew: bool) -> Answer {
        self.patches(&format!("/subscriptions/{subscription}"), json!({ "auto_renew": auto_renew })).await
    }

    /// POST /subscriptions/{id}/cancel.
    pub async fn cancels(&self, subscription: impl Display, at_period_end: bool) -> Answer {
        self.posts(
            &format!("/subscriptions/{subscription}/cancel"),
            json!({ "at_period_end": at_period_end }),
        )
        .await
    }

    /// GET /notifications: the inbox.
    pub async fn reads_notices(&self) -> Answer {
        self.gets("/notifications").await
    }
}

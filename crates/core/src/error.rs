//! How things fail: an answer for the caller, or our fault. There is no third kind.

use lectern_subjects::{CommonRefusal, Problem, Refusal, Refused, Request};

/// What went wrong below the handlers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or could not be reached.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// The broker refused or could not be reached; nothing was stored.
    #[error("broker: {0}")]
    Broker(String),
    /// The deadline passed before COMMIT: nothing was changed.
    #[error("the deadline passed before commit")]
    DeadlinePassed,
    /// The connection was lost during COMMIT: the outcome is unknown (`spec/reliability.md` E2).
    #[error("the outcome of the commit is unknown: {0}")]
    CommitUnknown(sqlx::Error),
    /// Another request with this idempotency key has committed meanwhile; its answer is replayed.
    #[error("the idempotency key was committed by another request")]
    Replay,
    /// Another request with this idempotency key is running.
    #[error("a request with this idempotency key is in progress")]
    KeyInFlight,
    /// The entity's version is not the one in `If-Match`.
    #[error("the entity has changed since version {0}")]
    StaleVersion(i64),
    /// A message could not be written as JSON.
    #[error("encoding: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Whether the same attempt may succeed a moment later: connection loss, pool exhaustion, a lock or statement
    /// timeout, a deadlock or a serialisation failure.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Sql(error) | Error::CommitUnknown(error) => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                    // class 08 connection, 53 resources, 57P operator intervention (shutdown), 40 rollback, 55P03 lock, 57014 cancel
                    code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57P")
                        || code.starts_with("40")
                        || code == "55P03"
                        || code == "57014"
                }),
                _ => false,
            },
            Error::Broker(_) => true,
            _ => false,
        }
    }

    /// The name of the violated constraint, when a constraint refused: the database decides, the handler names it.
    pub fn constraint(error: &sqlx::Error) -> Option<&str> {
        error.as_database_error().and_then(|database| database.constraint())
    }
}

/// Why a handler did not answer.
#[derive(Debug)]
pub enum Fault<R> {
    /// An answer for the caller: a refusal of the service.
    Refused(Refused<R>),
    /// An answer for the caller: a refusal that any request may have.
    Common(Refused<CommonRefusal>),
    /// Our fault: logged once with the request id, answered without detail.
    Broken(anyhow::Error),
}

/// What a handler returns.
pub type Outcome<Q> = Result<<Q as Request>::Reply, Fault<<Q as Request>::Refusal>>;

impl<R: Refusal> Fault<R> {
    /// A failure without a type of its own.
    pub fn broken(error: impl Into<anyhow::Error>) -> Self {
        Fault::Broken(error.into())
    }
}

/// `?` serves both kinds: refusals, alone or with details, become answers; everything else is our fault. Another
/// service's refusal is no refusal of this one, hence our fault, unless it is mapped by hand.
impl<R: Refusal, X: std::error::Error + Send + Sync + 'static> From<X> for Fault<R> {
    fn from(error: X) -> Self {
        let mut slot = Some(error);
        let any: &mut dyn std::any::Any = &mut slot;
        if let Some(refusal) = any.downcast_mut::<Option<R>>().and_then(Option::take) {
            return Fault::Refused(refusal.into());
        }
        if let Some(refused) = any.downcast_mut::<Option<Refused<R>>>().and_then(Option::take) {
            return Fault::Refused(refused);
        }
        if let Some(refusal) = any.downcast_mut::<Option<CommonRefusal>>().and_then(Option::take) {
            return Fault::Common(refusal.into());
        }
        if let Some(refused) = any.downcast_mut::<Option<Refused<CommonRefusal>>>().and_then(Option::take) {
            return Fault::Common(refused);
        }
        match slot {
            Some(error) => Fault::Broken(error.into()),
            None => unreachable!("the slot is emptied only by the returns above"),
        }
    }
}

/// Proof that a follower's, timer's or drain's transaction was committed: only [`Tx::commit_followed`](crate::Tx::commit_followed) makes it.
#[derive(Debug)]
pub struct Committed(pub(crate) ());

/// Why a fact or a ring was not handled.
#[derive(Debug)]
pub enum Unhandled {
    /// Try again later: 1 s, 5 s, 30 s, 2 min, 10 min (architecture §13), then the dead letters.
    Again(anyhow::Error),
    /// It can't ever be handled: to the dead letters at once.
    Never(anyhow::Error),
}

/// What a follower returns.
pub type Followed = Result<Committed, Unhandled>;

impl<X: std::error::Error + Send + Sync + 'static> From<X> for Unhandled {
    fn from(error: X) -> Self {
        Unhandled::Again(error.into())
    }
}

/// Why a request to another service was not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It was refused.
    #[error("refused with {}", .0.error_code)]
    Refused(Box<Problem>),
    /// Nothing came back before the deadline: the outcome is unknown.
    #[error("no answer before the deadline")]
    Timeout,
    /// No worker listens, or the broker is away: nothing was done.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The answer could not be read.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

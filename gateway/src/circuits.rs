//! A circuit per service (I-116): while a service is silent, who asks for it is refused at once, and waits for nothing.
//!
//! What counts as a failure is silence, and no answer at all: a refusal is an answer. Five in a minute, with no answer of the
//! service between them, are a suspicion. One slow request of many would raise it too, when nothing else is asked for; so the
//! service is asked over `$SRV.PING` whether it is there, and only its silence opens the circuit. From then on it is asked every
//! second; with its first answer one request goes through (half open), and with that one's answer all do. One that is slow is
//! not waited for by everybody: a second after it the next one tries, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lectern_core::bus::{Bus, Message, Outgoing};
use lectern_core::error::CallError;
use lectern_subjects::RequestInfo;

/// Failures without an answer between them that make a service suspect (seed 001, I-116).
const SUSPECT_AFTER: usize = 5;
/// Within this time (likewise).
const WINDOW: Duration = Duration::from_secs(60);
/// How often a silent service is asked whether it is there (architecture §13), and how often one that was tries a request.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The circuits of a gateway, one for each service of the contract.
pub(crate) struct Circuits(Vec<Arc<Circuit>>);

struct Circuit {
    service: &'static str,
    /// Whether there is anything to look at: while all is well a request costs one load of this.
    unsettled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Failures since the last answer, and whether the service is being asked about them.
    Closed {
        failures: Vec<Instant>,
        asking: bool,
    },
    Open,
    /// When the last request was let through that is under way.
    HalfOpen {
        tried: Option<Instant>,
    },
}

/// A request that was let through.
struct Passed<'a> {
    circuit: &'a Arc<Circuit>,
    /// Whether it is the one of a half-open circuit. Dropped without an outcome, another may try.
    trial: bool,
}

impl Circuits {
    pub fn new() -> Circuits {
        let services = lectern_subjects::SERVICES.iter();
        let circuits = services.map(|service| {
            metrics::gauge!("gateway_circuit_state", "service" => service.name).set(0.0);
            metrics::counter!("gateway_circuit_opened_total", "service" => service.name).increment(0);
            Arc::new(Circuit {
                service: service.name,
                unsettled: AtomicBool::new(false),
                state: Mutex::new(State::CALM),
            })
        });
        Circuits(circuits.collect())
    }

    /// Sends a request, unless its service's circuit is open.
    pub async fn request(
        &self,
        bus: &Bus,
        info: &RequestInfo,
        outgoing: &Outgoing,
        body: Bytes,
    ) -> Result<Message, CallError> {
        let Some(circuit) = self.0.iter().find(|circuit| circuit.service == info.service()) else {
            return bus.request(info.subject, info.effect, outgoing, body).await;
        };
        let Some(passed) = circuit.pass() else {
            metrics::counter!("gateway_circuit_refused_total", "service" => circuit.service).increment(1);
            return Err(CallError::Unavailable(format!("the circuit of {} is open", circuit.service)));
        };
        let answer = bus.request(info.subject, info.effect, outgoing, body).await;
        match &answer {
            Ok(_) => passed.answered(),
            // a broker that is away says nothing of a service
            Err(_) if !bus.is_connected() => {}
            Err(_) => passed.failed(bus),
        }
        answer
    }
}

impl State {
    const CALM: State = State::Closed { failures: Vec::new(), asking: false };
}

impl Circuit {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.number();
        let changed = change(&mut state);
        let now = state.number();
        self.unsettled.store(
            !matches!(&*state, State::Closed { failures, .. } if failures.is_empty()),
            Ordering::Release,
        );
        if before != now {
            metrics::gauge!("gateway_circuit_state", "service" => self.service).set(now);
            tracing::warn!(service = self.service, state = ?*state, "the circuit changed");
        }
        changed
    }

    fn pass(self: &Arc<Self>) -> Option<Passed<'_>> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Some(Passed { circuit: self, trial: false });
        }
        self.pass_at(Instant::now())
    }

    fn pass_at(self: &Arc<Self>, now: Instant) -> Option<Passed<'_>> {
        self.change(|state| match state {
            State::Closed { .. } => Some(Passed { circuit: self, trial: false }),
            State::HalfOpen { tried } if tried.is_none_or(|at| now.duration_since(at) >= ASK_EVERY) => {
                *tried = Some(now);
                Some(Passed { circuit: self, trial: true })
            }
            State::Open | State::HalfOpen { .. } => None,
        })
    }

    /// One more failure; answers whether the service is to be asked now.
    fn failed(&self, now: Instant) -> bool {
        self.change(|state| match state {
            State::Closed { failures, asking } => {
                failures.retain(|at| now.duration_since(*at) < WINDOW);
                failures.push(now);
                let ask = failures.len() >= SUSPECT_AFTER && !*asking;
                *asking |= ask;
                ask
            }
            State::Open | State::HalfOpen { .. } => false,
        })
    }

    /// Asks a suspect service whether it is there. Silent, it is asked until it answers; meanwhile the circuit is open.
    async fn ask(self: Arc<Self>, bus: Bus) {
        if bus.is_there(self.service, ASK_EVERY).await || !bus.is_connected() {
            // slow, or out of its queue groups and saying so: what it does not answer, the broker refuses at once
            return self.change(|state| *state = State::CALM);
        }
        let opened = self.change(|state| match state {
            State::Closed { asking: true, .. } | State::Open => {
                *state = State::Open;
                true
            }
            // it has answered meanwhile
            State::Closed { .. } | State::HalfOpen { .. } => false,
        });
        if !opened {
            return;
        }
        metrics::counter!("gateway_circuit_opened_total", "service" => self.service).increment(1);
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if bus.is_there(self.service, ASK_EVERY).await {
                return self.is_back();
            }
        }
    }

    /// A silent service has answered, unless a request's answer has closed the circuit already.
    fn is_back(&self) {
        self.change(|state| {
            if matches!(state, State::Open) {
                *state = State::HalfOpen { tried: None };
            }
        });
    }
}

impl State {
    fn number(&self) -> f64 {
        match self {
            State::Closed { .. } => 0.0,
            State::HalfOpen { .. } => 1.0,
            State::Open => 2.0,
        }
    }
}

impl Passed<'_> {
    fn answered(mut self) {
        let trial = std::mem::take(&mut self.trial);
        if self.circuit.unsettled.load(Ordering::Acquire) {
            self.circuit.change(|state| match state {
                // what was sent before the service fell silent says nothing of it now
                State::Open | State::HalfOpen { .. } if !trial => {}
                _ => *state = State::CALM,
            });
        }
    }

    fn failed(mut self, bus: &Bus) {
        let ask = match std::mem::take(&mut self.trial) {
            // of several that tried, the first one's failure
            true => self.circuit.change(|state| {
                let tried = matches!(state, State::HalfOpen { .. });
                if tried {
                    *state = State::Open;
                }
                tried
            }),
            false => self.circuit.failed(Instant::now()),
        };
        if ask {
            tokio::spawn(self.circuit.clone().ask(bus.clone()));
        }
    }
}

impl Drop for Passed<'_> {
    /// Its client has gone before the answer came: another may try.
    fn drop(&mut self) {
        if self.trial {
            self.circuit.change(|state| {
                if let State::HalfOpen { tried } = state {
                    *tried = None;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Arc<Circuit> {
        Circuits::new().0.into_iter().find(|circuit| circuit.service == "courses").unwrap()
    }

    fn stands(circuit: &Circuit) -> f64 {
        circuit.state.lock().unwrap().number()
    }

    #[test]
    fn i116_five_failures_in_a_minute_without_an_answer_between_them_are_a_suspicion_once() {
        let circuit = circuit();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let suspect: Vec<bool> = (0..7).map(|at| circuit.failed(after(at))).collect();
        assert_eq!(suspect, [false, false, false, false, true, false, false]);
        circuit.pass().unwrap().answered();
        assert!(!circuit.unsettled.load(Ordering::Relaxed), "an answer, a refusal too, settles it");
        // four, an answer, and four more
        for at in [0, 1, 2, 3] {
            assert!(!circuit.failed(after(at)));
        }
        circuit.pass().unwrap().answered();
        assert!((4..8).all(|at| !circuit.failed(after(at))));
        // the fifth comes when the first is a minute old
        assert!(!circuit.failed(after(64)) && !circuit.failed(after(65)));
        assert_eq!(stands(&circuit), 0.0, "nothing opens before the service was asked");
    }

    #[test]
    fn i116_open_lets_nobody_through_and_half_open_one_at_a_time() {
        let circuit = circuit();
        circuit.change(|state| *state = State::Open);
        assert!(circuit.pass().is_none());
        circuit.is_back();
        let first = circuit.pass().unwrap();
        assert!(first.trial && circuit.pass().is_none());
        drop(first);
        let second = circuit.pass().expect("who tried has gone");
        second.answered();
        assert_eq!(stands(&circuit), 0.0);
        assert!(circuit.pass().is_some_and(|passed| !passed.trial));
    }

    #[test]
    fn i116_a_slow_trial_is_not_waited_for_by_everybody() {
        let circuit = circuit();
        circuit.change(|state| *state = State::Open);
        circuit.is_back();
        let now = Instant::now();
        let slow = circuit.pass_at(now).unwrap();
        assert!(circuit.pass_at(now + ASK_EVERY / 2).is_none());
        let next = circuit.pass_at(now + ASK_EVERY).unwrap();
        assert!(circuit.pass_at(now + ASK_EVERY).is_none());
        next.answered();
        assert_eq!(stands(&circuit), 0.0);
        drop(slow);
        assert_eq!(stands(&circuit), 0.0);
    }

    #[test]
    fn i116_a_ping_that_is_answered_late_reopens_nothing() {
        let circuit = circuit();
        circuit.is_back();
        assert_eq!(stands(&circuit), 0.0, "closed by a request's answer meanwhile");
    }

    #[test]
    fn i116_a_late_answer_does_not_close_an_open_circuit() {
        let circuit = circuit();
        let early = circuit.pass().unwrap();
        circuit.change(|state| *state = State::Open);
        early.answered();
        assert_eq!(stands(&circuit), 2.0);
    }
}

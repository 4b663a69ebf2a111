//! What provisioning makes, from the same files and tables, without its permissions.

use async_nats::jetstream::{self, kv};
use lectern_core::service::Table;
use lectern_harness::checkout;
use lectern_subjects::{Envelope, Fact, subject};
use serde_json::{Value, json};

use crate::World;

impl World {
    pub(crate) async fn provision(&self) {
        for stream in ["EVENTS", "DEAD", "AUDIT", "PLAYBACK"] {
            self.make_stream(stream, "").await;
        }
        let revoked = kv::Config { bucket: "revoked".to_owned(), ..Default::default() };
        self.broker().create_key_value(revoked).await.expect("the bucket revoked");
    }

    /// Makes a stream as `nats/` describes it; `service` is whose timers it holds.
    ///
    /// # Panics
    /// When there is no such file, or the broker refuses.
    pub async fn make_stream(&self, file: &str, service: &str) {
        let path = checkout::root().join(format!("nats/{file}.json"));
        let text = std::fs::read_to_string(path).expect("a stream's file");
        let text = text.replace("{SERVICE}", &service.to_ascii_uppercase()).replace("{service}", service);
        let mut config: Value = serde_json::from_str(&text).expect("a stream's configuration");
        for field in ["max_age", "duplicate_window"] {
            config[field] = json!(nanoseconds(config[field].as_str().expect(field)));
        }
        let name = config["name"].as_str().expect("a name").to_owned();
        self.asks_broker(&format!("STREAM.CREATE.{name}"), config).await;
    }

    /// Deletes a stream.
    ///
    /// # Panics
    /// When there is none.
    pub async fn delete_stream(&self, name: &str) {
        self.asks_broker(&format!("STREAM.DELETE.{name}"), json!({})).await;
    }

    /// Makes what a worker's table needs: the timers stream, and the consumers of facts, rings and drains.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn make_consumers(&self, table: &Table) {
        if !table.follows.is_empty() {
            let filters: Vec<String> = table.follows.iter().map(|fact| subject::every(fact)).collect();
            self.make_consumer("EVENTS", table.service, json!({ "filter_subjects": filters }), -1).await;
        }
        if !table.timers.is_empty() {
            self.make_stream("TIMERS", table.service).await;
            let filter = json!({ "filter_subject": format!("timers.{}.due.>", table.service) });
            self.make_consumer(&subject::timer_stream(table.service), "due", filter, 20).await;
        }
        for drain in &table.drains {
            let filter = json!({ "filter_subject": drain.filter });
            self.make_consumer(drain.stream, drain.consumer, filter, -1).await;
        }
    }

    async fn make_consumer(&self, stream: &str, name: &str, mut config: Value, deliveries: i32) {
        config["durable_name"] = json!(name);
        config["ack_policy"] = json!("explicit");
        config["ack_wait"] = json!(self.ack_wait.as_nanos() as u64);
        config["max_ack_pending"] = json!(1000);
        config["max_deliver"] = json!(deliveries);
        let body = json!({ "stream_name": stream, "config": config });
        self.asks_broker(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), body).await;
    }

    async fn asks_broker(&self, what: &str, body: Value) {
        let answer = self.tool.asks(&format!("$JS.API.{what}"), body).await;
        assert!(answer.json.get("error").is_none(), "{what}: {}", answer.json);
    }

    /// Announces a fact as another service would: the same envelope, as often as it is called.
    ///
    /// # Panics
    /// When the stream does not take it.
    pub async fn tells<F: Fact>(&self, fact: &Envelope<F>) {
        let body = serde_json::to_vec(fact).expect("JSON");
        let subject = fact.data.subject();
        self.broker().publish(subject, body.into()).await.expect("sent").await.expect("stored");
    }

    /// A fact in its envelope.
    pub fn fact<F: Fact>(&self, data: F, version: i64) -> Envelope<F> {
        Envelope {
            event_id: self.clock.new_id(),
            event_type: lectern_subjects::fact::event_type(F::SUBJECT).to_owned(),
            version: "1.0.0".to_owned(),
            occurred_at: self.clock.now(),
            actor_id: None,
            subject_id: data.key(),
            entity_version: version,
            causation_id: None,
            trace: None,
            data,
        }
    }

    /// How far a consumer is.
    ///
    /// # Panics
    /// When there is none.
    pub async fn consumer(&self, stream: &str, name: &str) -> jetstream::consumer::Info {
        let stream = self.broker().get_stream(stream).await.expect("a stream");
        stream.consumer_info(name).await.expect("a consumer")
    }

    /// The connection to the broker.
    pub fn broker(&self) -> jetstream::Context {
        jetstream::new(self.tool.client().clone())
    }
}

fn nanoseconds(text: &str) -> u64 {
    let (count, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "d" => 86_400,
        other => panic!("{other} is no unit"),
    };
    count.parse::<u64>().expect("a number") * seconds * 1_000_000_000
}

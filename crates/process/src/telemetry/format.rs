//! One line per event: JSON for machines, or text for people. Every string passes the masker.

use std::fmt::{self, Write};

use chrono::SecondsFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::mask::{self, HIDDEN};
use crate::clock::Clock;

/// What stands in every line.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub json: bool,
    pub environment: String,
    pub clock: Clock,
}

/// Fields as `"name":value` pairs with commas between them (JSON) or `name=value` pairs (text).
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs {
    pub json: bool,
}

impl<'w> FormatFields<'w> for Pairs {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Fields::new(self.json);
        fields.record(&mut visitor);
        writer.write_str(&visitor.pairs)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let separator = if self.json { ',' } else { ' ' };
        let mut visitor = Fields::new(self.json);
        fields.record(&mut visitor);
        if !current.fields.is_empty() && !visitor.pairs.is_empty() {
            current.fields.push(separator);
        }
        current.fields.push_str(&visitor.pairs);
        Ok(())
    }
}

impl<S> FormatEvent<S, Pairs> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Pairs>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let separator = if self.json { ',' } else { ' ' };
        let mut visitor = Fields::new(self.json);
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<Pairs>>().map_or("", |f| f.fields.as_str());
            if !fields.is_empty() {
                visitor.of_spans.push(separator);
                visitor.of_spans.push_str(fields);
            }
        }
        event.record(&mut visitor);
        let message = visitor.message.take().unwrap_or_default();
        let at = self.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let meta = event.metadata();
        if self.json {
            write!(
                writer,
                r#"{{"ts":"{at}","level":"{}","service":"lectern","version":"{}","env":{},"target":"{}","message":{}"#,
                level(*meta.level()),
                env!("CARGO_PKG_VERSION"),
                json(&self.environment),
                meta.target(),
                json(&message),
            )?;
            if let Some((trace, span)) = super::current_ids() {
                write!(writer, r#","trace_id":"{trace}","span_id":"{span}""#)?;
            }
        } else {
            write!(writer, "{} {:5} {message}", &at[11..23], meta.level())?;
        }
        writer.write_str(&visitor.of_spans)?;
        if !visitor.pairs.is_empty() {
            write!(writer, "{separator}{}", visitor.pairs)?;
        }
        writer.write_str(if self.json { "}\n" } else { "\n" })
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Collects the fields of one event or span, masked.
struct Fields {
    json: bool,
    message: Option<String>,
    pairs: String,
    /// What the spans around an event show already: a name stands in a line once.
    of_spans: String,
}

impl Fields {
    fn new(json: bool) -> Fields {
        Fields { json, message: None, pairs: String::new(), of_spans: String::new() }
    }

    fn pair(&mut self, field: &Field, value: &dyn fmt::Display) {
        let name = match field.name() {
            // the line's own names: a name stands in a line once
            "service" => "role",
            "ts" | "level" | "version" | "env" | "target" | "trace_id" | "span_id" => "other",
            name => name,
        };
        let shown = if self.json { format!(",\"{name}\":") } else { format!(" {name}=") };
        if self.of_spans.contains(&shown) {
            return;
        }
        if !self.pairs.is_empty() {
            self.pairs.push(if self.json { ',' } else { ' ' });
        }
        let _infallible = if self.json {
            write!(self.pairs, "\"{name}\":{value}")
        } else {
            write!(self.pairs, "{name}={value}")
        };
    }

    fn text(&mut self, field: &Field, text: &str) {
        let shown = if mask::is_secret(field.name()) { HIDDEN.into() } else { mask::mask(text) };
        if field.name() == "message" {
            self.message = Some(shown.into_owned());
        } else if self.json {
            self.pair(field, &json(&shown));
        } else if shown.contains([' ', '"', '\n']) {
            self.pair(field, &format!("{shown:?}"));
        } else {
            self.pair(field, &shown);
        }
    }

    fn number(&mut self, field: &Field, number: &dyn fmt::Display) {
        let text = number.to_string();
        if mask::is_secret(field.name()) || mask::mask(&text) != text {
            self.text(field, HIDDEN);
        } else {
            self.pair(field, &text);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // fields of OpenTelemetry's own naming are for the exporter
        if !field.name().starts_with("otel.") {
            self.text(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pair(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.pair(field, &value);
        } else {
            self.text(field, &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_each_name_once_and_no_secret() {
        let out = Out::default();
        let writer = out.clone();
        let lines = Lines { json: true, environment: "test".to_owned(), clock: Clock::default() };
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(Pairs { json: true })
            .event_format(lines)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = super::super::consumer_span("svc.courses.v1.courses.list", None);
            let _inside = span.enter();
            super::super::identify("r-1", Some(&"u-1"));
            let (service, request_id, password) = ("courses", "r-1", "hunter2");
            let card = 4_111_111_111_111_111_u64;
            tracing::info!(service, request_id, password, card, note = ?Some("a\"b"), "for ann@example.com\n");
        });
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((text.matches('\n').count(), text.matches("request_id").count()), (1, 1), "{text}");
        for (name, value) in [
            ("level", "info"),
            ("service", "lectern"),
            ("env", "test"),
            ("role", "courses"),
            ("request_id", "r-1"),
            ("user_id", "u-1"),
            ("password", "***"),
            ("card", "***"),
            ("message", "for a***@example.com\n"),
            ("subject", "svc.courses.v1.courses.list"),
        ] {
            assert_eq!(line[name], value, "{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("4111"), "{text}");
    }
}

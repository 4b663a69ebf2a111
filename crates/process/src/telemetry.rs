//! Logs and traces: one trace from the HTTP request through every hop, one JSON line per event, no secret in either.
//!
//! Spans stand at the edges only (HTTP request, message in), and around the steps of a sign-in that seed 001 names;
//! everything else is a log line inside one of them.

mod format;
pub mod mask;

use std::fmt::Display;

use async_nats::HeaderMap;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::clock::Clock;
use crate::config::{ConfigError, ENVIRONMENT, Env, Environment, Setting};

/// What is logged.
pub const LOG_LEVEL: Setting = Setting {
    name: "LOG_LEVEL",
    default: None,
    secret: false,
    help: "error, warn, info, debug or trace; per module as in info,async_nats=warn; absent: by ENVIRONMENT debug (development), info (test, staging), warn (production)",
};
/// How it is logged.
pub const LOG_FORMAT: Setting = Setting {
    name: "LOG_FORMAT",
    default: Some("json"),
    secret: false,
    help: "json (one object per line) or text (for people)",
};
/// Where spans go.
pub const OTLP_ENDPOINT: Setting = Setting {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: None,
    secret: false,
    help: "base URL of an OTLP collector over HTTP, for example http://127.0.0.1:4318; absent: spans are not exported, trace ids are still made",
};
/// How many traces are exported.
pub const TRACES_RATIO: Setting = Setting {
    name: "OTEL_TRACES_SAMPLER_ARG",
    default: Some("1.0"),
    secret: false,
    help: "part of all traces that is exported, 0 to 1; a caller's decision in traceparent is kept",
};
/// The settings of this component.
pub const SETTINGS: &[Setting] = &[LOG_LEVEL, LOG_FORMAT, OTLP_ENDPOINT, TRACES_RATIO];

/// Keeps telemetry running; what is not exported yet is exported when it is dropped.
#[must_use = "dropping it ends telemetry"]
pub struct Guard(SdkTracerProvider);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::debug!(%error, "the last spans were not exported");
        }
    }
}

/// Starts logs (to standard output) and traces of this process. Call it outside an async runtime: the exporter has its own thread.
///
/// # Errors
/// A setting that can't be read. Starting twice is an error, too.
pub fn init(env: &Env) -> Result<Guard, ConfigError> {
    let levels = levels(env)?;
    let json = match env.require(&LOG_FORMAT)? {
        "json" => true,
        "text" => false,
        other => return Err(ConfigError::new(LOG_FORMAT.name, format!("{other:?}; {}", LOG_FORMAT.help))),
    };
    let environment = env.require(&ENVIRONMENT)?.to_owned();
    let provider = provider(env, &environment)?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("lectern"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_span).with_max_level_hint(LevelFilter::INFO));
    let most = levels.iter().map(|(_, level)| level).max().unwrap_or(LevelFilter::INFO);
    let most = levels.default_level().unwrap_or(LevelFilter::OFF).max(most).max(LevelFilter::INFO);
    let shown = filter_fn(move |meta| is_span(meta) || levels.would_enable(meta.target(), meta.level()));
    let lines = fmt::layer()
        .fmt_fields(format::Pairs { json })
        .event_format(format::Lines { json, environment, clock: Clock::default() })
        .with_writer(std::io::stdout)
        .with_ansi(false)
        .with_filter(shown.with_max_level_hint(most));
    tracing_subscriber::registry()
        .with(traces)
        .with(lines)
        .try_init()
        .map_err(|e| ConfigError::new(LOG_FORMAT.name, e.to_string()))?;
    Ok(Guard(provider))
}

/// What is shown: as LOG_LEVEL says, else as seed 001 has it for each environment (I-147). What others' libraries debug is
/// their own affair.
fn levels(env: &Env) -> Result<Targets, ConfigError> {
    let text = match (env.get(&LOG_LEVEL), env.environment()?) {
        (Some(text), _) => text,
        (None, Environment::Development) => "info,async_nats=warn,lectern=debug",
        (None, Environment::Test | Environment::Staging) => "info,async_nats=warn",
        (None, Environment::Production) => "warn",
    };
    let text = text.to_ascii_lowercase();
    let bad = || ConfigError::new(LOG_LEVEL.name, format!("{text:?}; {}", LOG_LEVEL.help));
    // a word that is no level would be taken for a module's name, and everything else be silent
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.trim().parse::<LevelFilter>().map_err(|_| bad())?;
    }
    text.parse().map_err(|_| bad())
}

/// Our own spans are always there: they carry the trace, whatever is logged.
fn is_span(meta: &Metadata<'_>) -> bool {
    meta.is_span() && *meta.level() <= tracing::Level::INFO && meta.target().starts_with("lectern")
}

fn provider(env: &Env, environment: &str) -> Result<SdkTracerProvider, ConfigError> {
    let builder = SdkTracerProvider::builder();
    let Some(endpoint) = env.get(&OTLP_ENDPOINT) else {
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let ratio: f64 = env.parse(&TRACES_RATIO)?;
    if !(0.0..=1.0).contains(&ratio) {
        return Err(ConfigError::new(TRACES_RATIO.name, TRACES_RATIO.help));
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|e| ConfigError::new(OTLP_ENDPOINT.name, e.to_string()))?;
    let resource = Resource::builder()
        .with_service_name("lectern")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("deployment.environment.name", environment.to_owned()))
        .build();
    Ok(builder
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}

/// The span of one message: a request, a fact, a ring. Continues the sender's trace.
pub fn consumer_span(subject: &str, headers: Option<&HeaderMap>) -> Span {
    let span = tracing::info_span!(
        "handle",
        otel.kind = "consumer",
        subject,
        request_id = field::Empty,
        user_id = field::Empty
    );
    follow(
        &span,
        headers.and_then(|headers| headers.get("traceparent")).map(async_nats::HeaderValue::as_str),
    );
    span
}

/// The span of one HTTP request; `route` is the route's template, never the raw path.
pub fn server_span(method: &str, route: &str, traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        "http",
        otel.kind = "server",
        method,
        route,
        request_id = field::Empty,
        user_id = field::Empty,
        status = field::Empty
    );
    follow(&span, traceparent);
    span
}

/// Notes in the current span what every line of it shall show.
pub fn identify(request_id: &str, user_id: Option<&dyn Display>) {
    let span = Span::current();
    span.record("request_id", request_id);
    if let Some(user) = user_id {
        span.record("user_id", field::display(user));
    }
}

fn follow(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(parse) {
        // without telemetry there is no span that could have a parent
        let _no_layer = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Writes the current span into the headers of a message.
pub fn inject(headers: &mut HeaderMap) {
    if let Some(traceparent) = current_traceparent() {
        headers.insert("traceparent", traceparent.as_str());
    }
}

/// W3C `traceparent` of the current span; none without telemetry.
pub fn current_traceparent() -> Option<String> {
    current(|context| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags() & TraceFlags::SAMPLED
        )
    })
}

/// Trace id of the current span, 32 hexadecimal digits; none without telemetry.
pub fn current_trace_id() -> Option<String> {
    current(|context| context.trace_id().to_string())
}

fn current_ids() -> Option<(TraceId, SpanId)> {
    current(|context| (context.trace_id(), context.span_id()))
}

fn current<T>(read: impl FnOnce(&SpanContext) -> T) -> Option<T> {
    Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_valid().then(|| read(context))
    })
}

/// Reads a W3C `traceparent`; none when it is malformed, as if it had not been sent.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let well_formed = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !well_formed || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_traceparent_is_as_good_as_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse(good).map(|c| c.trace_id().to_string()).as_deref(), Some(&good[3..35]));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    fn shows(pairs: &[(&str, &str)], target: &str, level: tracing::Level) -> bool {
        let env = Env::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        levels(&env).unwrap().would_enable(target, &level)
    }

    #[test]
    fn i147_without_a_level_the_environment_decides_as_seed_001_has_it() {
        use tracing::Level;
        for (environment, least) in [
            ("development", Level::DEBUG),
            ("test", Level::INFO),
            ("staging", Level::INFO),
            ("production", Level::WARN),
        ] {
            for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                let shown = shows(&[("ENVIRONMENT", environment)], "lectern_identity::sign_in", level);
                assert_eq!(shown, level <= least, "{level} in {environment}");
            }
            assert!(!shows(&[("ENVIRONMENT", environment)], "hyper::client", Level::DEBUG), "{environment}");
        }
    }

    #[test]
    fn i163_a_level_that_is_set_rules_in_any_case_and_nonsense_names_the_variable() {
        use tracing::Level;
        let set = |level| [("ENVIRONMENT", "production"), ("LOG_LEVEL", level)];
        for written in ["INFO", "info"] {
            assert!(shows(&set(written), "lectern_core", Level::INFO), "{written}");
            assert!(!shows(&set(written), "lectern_core", Level::DEBUG), "{written}");
        }
        let nonsense = Env::of([("LOG_LEVEL".to_owned(), "loud and clear".to_owned())]);
        assert_eq!(levels(&nonsense).map_err(|error| error.name).err().as_deref(), Some("LOG_LEVEL"));
    }

    #[test]
    fn one_trace_goes_through_two_hops() {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let mut headers = HeaderMap::new();
            let sent = server_span("GET", "/courses", None).in_scope(|| {
                inject(&mut headers);
                current_trace_id()
            });
            let arrived =
                consumer_span("svc.courses.v1.courses.list", Some(&headers)).in_scope(current_trace_id);
            assert!(sent.is_some());
            assert_eq!(arrived, sent);
            assert_ne!(consumer_span("svc.x", None).in_scope(current_trace_id), sent);
        });
    }
}

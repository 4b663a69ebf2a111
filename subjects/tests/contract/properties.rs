//! Whatever comes in: no panic, no invented value, and what is written reads back.

use chrono::{DateTime, Utc};
use lectern_subjects::enrollment::CreatePlan;
use lectern_subjects::identity::Register;
use lectern_subjects::interval::Interval;
use lectern_subjects::money::{Currency, Decimal};
use lectern_subjects::playback::SendBeats;
use lectern_subjects::{BadShape, Request, decode, requests};
use proptest::prelude::*;
use serde_json::Value;

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

/// Any JSON value, not too large.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from);
        let members = prop::collection::vec((any::<String>(), inner), 0..8);
        prop_oneof![items, members.prop_map(|members| Value::Object(members.into_iter().collect()))]
    })
}

/// A refusal is one that the contract allows, with a place and a reason for each fault.
fn is_documented<R: Request>(shape: &BadShape) -> bool {
    let known = ["COMMON_0001", "COMMON_0002"].contains(&shape.code.code)
        || R::SHAPE.iter().any(|(_, code)| *code == shape.code);
    let faults = shape.details.as_ref().and_then(Value::as_array);
    let placed = |fault: &Value| {
        let pointer = fault["pointer"].as_str();
        pointer.is_some_and(|p| p.is_empty() || p.starts_with('/')) && fault["reason"].is_string()
    };
    known && faults.is_some_and(|faults| !faults.is_empty() && faults.iter().all(placed))
}

fn documented_or_taken<R: Request>(body: &[u8]) -> bool {
    decode::<R>(body).map_or_else(|shape| is_documented::<R>(&shape), |_| true)
}

fn currency(code: &str) -> Currency {
    Currency::try_from(code.to_owned()).unwrap()
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(documented_or_taken::<Register>(&body));
        prop_assert!(documented_or_taken::<SendBeats>(&body));
        prop_assert!(documented_or_taken::<CreatePlan>(&body));
    }

    #[test]
    fn an_example_with_bytes_cut_off_or_changed_is_refused_without_panic(
        row in 0..requests().count(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let example: Value = serde_json::from_str(requests().nth(row).unwrap().golden).unwrap();
        let mut body = example["request"].to_string().into_bytes();
        let at = place.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        prop_assert!(documented_or_taken::<Register>(&body));
        prop_assert!(documented_or_taken::<SendBeats>(&body));
        prop_assert!(documented_or_taken::<CreatePlan>(&body));
    }

    #[test]
    fn any_json_in_any_field_of_any_request_is_taken_as_it_is_or_refused(
        row in 0..requests().count(), field in any::<prop::sample::Index>(), value in any_json(),
    ) {
        let info = requests().nth(row).unwrap();
        let mut example: Value = serde_json::from_str(info.golden).unwrap();
        let request = example["request"].as_object_mut().unwrap();
        let name = if request.is_empty() { "x".to_owned() } else {
            request.keys().nth(field.index(request.len())).unwrap().clone()
        };
        request.insert(name, value);
        // what is taken and written again is taken again, the same
        if let Ok(written) = (info.round_trip)(&example.to_string()) {
            prop_assert_eq!((info.round_trip)(&written), Ok(written));
        }
    }

    #[test]
    fn a_number_is_the_same_after_it_was_read_and_written_again(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        if number.is_finite() {
            let read: f64 = serde_json::from_str(&serde_json::to_string(&number).unwrap()).unwrap();
            prop_assert_eq!(read.to_bits(), bits);
        }
    }

    #[test]
    fn an_amount_reads_back_as_string_and_as_number(
        minor in 0_i64..=999_999_999_999_999, code in prop::sample::select(vec!["USD", "KRW", "KWD", "EUR", "JPY"]),
    ) {
        let currency = currency(code);
        // at most 12 digits before the point
        let minor = minor % 10_i64.pow(12 + currency.exponent());
        let major = currency.major(minor);
        let text: Decimal = serde_json::from_value(Value::from(major.clone())).unwrap();
        prop_assert_eq!(text.minor(&currency), Ok(minor));
        let number: Decimal = serde_json::from_str(&major).unwrap();
        prop_assert_eq!(number.minor(&currency), Ok(minor));
    }

    #[test]
    fn amounts_below_zero_or_finer_than_the_currency_are_refused(whole in 0_u32.., thousandths in 1_u32..=9) {
        let fine: Decimal = serde_json::from_str(&format!("\"{whole}.00{thousandths}\"")).unwrap();
        prop_assert!(fine.minor(&currency("USD")).is_err());
        prop_assert!(fine.minor(&currency("KRW")).is_err());
        prop_assert_eq!(fine.minor(&currency("KWD")), Ok(i64::from(whole) * 1000 + i64::from(thousandths)));
        let negative = format!("-{whole}.5");
        prop_assert!(serde_json::from_str::<Decimal>(&negative).is_err());
    }

    #[test]
    fn any_number_is_an_exact_amount_or_none(number in any::<f64>().prop_filter("a number", |n| n.is_finite())) {
        if let Ok(decimal) = serde_json::from_value::<Decimal>(Value::from(number)) {
            let text = serde_json::to_value(&decimal).unwrap();
            prop_assert_eq!(text.as_str().unwrap().parse::<f64>().unwrap(), number);
        }
    }

    #[test]
    fn an_interval_reads_back_as_it_is_written(months in 0_u32..=60, days in 0_u32..=1000, seconds in 0_u32..=100_000) {
        let text = format!("P{months}M{days}DT{seconds}S");
        match text.parse::<Interval>() {
            Ok(interval) => {
                prop_assert_eq!(interval.to_string().parse::<Interval>(), Ok(interval));
                let json = serde_json::to_string(&interval).unwrap();
                prop_assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), interval);
            }
            Err(_) => prop_assert_eq!((months, days, seconds), (0, 0, 0)),
        }
    }

    #[test]
    fn periods_follow_each_other_and_never_panic(
        start in 0_i64..4_102_444_800, months in 0_u32..=120, seconds in 1_u32..=1000, count in 0_u32..1000,
    ) {
        let anchor: DateTime<Utc> = DateTime::from_timestamp(start, 0).unwrap();
        if let Ok(interval) = format!("P{months}MT{seconds}S").parse::<Interval>() {
            prop_assert_eq!(interval.after(anchor, 0), anchor);
            prop_assert!(interval.after(anchor, count + 1) > interval.after(anchor, count));
        }
        let longest: Interval = "PT321408000S".parse().unwrap();
        prop_assert!(longest.after(anchor, u32::MAX) > anchor);
    }

    #[test]
    fn any_text_is_an_interval_or_an_error(text in "[P0-9YMWDTHS.-]{0,12}|.*") {
        if let Ok(interval) = text.parse::<Interval>() {
            prop_assert_eq!(interval.to_string().parse::<Interval>(), Ok(interval));
        }
    }
}

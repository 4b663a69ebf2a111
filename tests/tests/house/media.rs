//! Bytes by a signed URL: ranges (RFC 9110 §14), conditions, signatures.

use lectern_harness::{Actor, Answer};
use reqwest::Method;
use serde_json::json;

use crate::shared::house;
use crate::way::clip;

const LENGTH: usize = 700_001;

struct Film {
    alice: Actor,
    url: String,
    bytes: Vec<u8>,
}

impl Film {
    async fn begins() -> Film {
        let house = house().await;
        let operator = house.staff("operator");
        let bytes = clip(LENGTH);
        let course = operator.creates_course("Film").await.created().id();
        let upload = operator.uploads("film no. 1.mp4", bytes.clone()).await.ok();
        let session = json!({ "title": "Film", "duration_ms": 60_000, "asset_id": upload.text("/asset_id") });
        let session = operator.adds_session_with(&course, session).await.created().id();
        operator.publishes(&course).await.ok();
        let alice = house.stack.learner("Alice").await;
        alice.enrols(&course).await.created();
        let url = alice.watches(&course, &session).await.media_url;
        Film { alice, url, bytes }
    }

    async fn asks(&self, method: Method, headers: &[(&str, &str)]) -> Answer {
        let ask = self.alice.asks(method, &self.url).authorization(None);
        headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send().await
    }
}

#[tokio::test]
async fn ranges_put_together_are_the_file() {
    let film = Film::begins().await;
    let whole = film.asks(Method::GET, &[]).await.ok();
    assert!(whole.body == film.bytes, "other bytes than were uploaded");
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let mut together = Vec::new();
    for size in [1, 4095, 65_536, 200_000, usize::MAX] {
        let from = together.len();
        let to = from.saturating_add(size - 1).min(LENGTH - 1);
        let range = if size == usize::MAX { format!("bytes={from}-") } else { format!("bytes={from}-{to}") };
        let part = film.asks(Method::GET, &[("range", &range)]).await.is(206);
        assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/{LENGTH}"));
        assert_eq!(part.header("content-length"), (to - from + 1).to_string());
        together.extend_from_slice(&part.body);
    }
    assert!(together == film.bytes, "the parts are not the file");
    let end = film.asks(Method::GET, &[("range", "bytes=-100")]).await.is(206);
    assert!(end.body == film.bytes[LENGTH - 100..], "another end");
    let beyond = film.asks(Method::GET, &[("range", "bytes=700000-900000")]).await.is(206);
    assert_eq!(beyond.header("content-range"), format!("bytes 700000-700000/{LENGTH}"));
}

#[tokio::test]
async fn what_lies_beyond_the_end_is_416_with_the_length() {
    let film = Film::begins().await;
    for range in ["bytes=700001-", "bytes=900000-900001", "bytes=-0"] {
        let refused = film.asks(Method::GET, &[("range", range)]).await.is(416);
        assert_eq!(refused.header("content-range"), format!("bytes */{LENGTH}"));
        assert!(refused.header("content-type").starts_with("application/problem+json"), "{refused}");
        assert_eq!(refused.at("/error_code"), "PLAY_2351");
        assert_eq!(refused.at("/status"), 416);
    }
    for nonsense in ["bytes=b-a", "lines=0-1", "bytes=5-1"] {
        film.asks(Method::GET, &[("range", nonsense)]).await.ok();
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let film = Film::begins().await;
    for headers in [&[][..], &[("range", "bytes=10-19")][..], &[("range", "bytes=700001-")][..]] {
        let (get, head) = (film.asks(Method::GET, headers).await, film.asks(Method::HEAD, headers).await);
        assert_eq!(get.status, head.status);
        let same = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            for own in ["date", "x-request-id"] {
                headers.remove(own);
            }
            if answer.status == 416 {
                // the document names its moment and trace, whose digits may differ in number
                headers.remove("content-length");
            }
            headers
        };
        assert_eq!(same(&get), same(&head));
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn if_range_gives_the_part_of_the_same_file_and_else_the_whole() {
    let film = Film::begins().await;
    let etag = film.asks(Method::HEAD, &[]).await.ok().header("etag").to_owned();
    assert!(etag.starts_with('"'), "If-Range needs a strong tag: {etag}");
    let part = film.asks(Method::GET, &[("range", "bytes=0-9"), ("if-range", &etag)]).await.is(206);
    assert_eq!(part.body.len(), 10);
    let whole = film.asks(Method::GET, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await.ok();
    assert_eq!(whole.body.len(), LENGTH);
}

#[tokio::test]
async fn a_changed_url_opens_nothing_and_does_not_say_why() {
    let film = Film::begins().await;
    let (path, query) = film.url.split_once('?').expect("a signed URL");
    let changed = |name: &str, to: &str| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key, _)) if key == name => format!("{name}={to}"),
            _ => pair.to_owned(),
        });
        format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
    };
    let mut urls = vec![
        path.to_owned(),
        format!("{path}?"),
        film.url.replace("file.mp4", "fi1e.mp4"),
        format!("{}&uid=x", film.url),
    ];
    let names: Vec<&str> = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(names.len() >= 5, "what is signed: {names:?}");
    for name in names {
        for to in ["", "A", "4102444800", crate::shared::NOBODY] {
            urls.push(changed(name, to));
        }
    }
    let mut details = std::collections::BTreeSet::new();
    for url in urls {
        let refused = film.alice.streams(&url, None).await.refused(403, "CONTENT_2220");
        details.insert((refused.text("/detail"), refused.at("/details").to_string()));
    }
    assert_eq!(details.len(), 1, "the refusals tell more: {details:?}");
    film.alice.streams(&film.url, Some("bytes=0-0")).await.is(206);
}

#[tokio::test]
async fn after_logout_the_url_opens_nothing() {
    let film = Film::begins().await;
    film.alice.streams(&film.url, Some("bytes=0-0")).await.is(206);
    film.alice.logs_out().await.ok();
    let void = |it: &Answer| it.status != 206;
    let look = async || film.alice.streams(&film.url, Some("bytes=0-0")).await;
    crate::shared::until(std::time::Duration::from_secs(5), look, void).await.refused(403, "CONTENT_2220");
}

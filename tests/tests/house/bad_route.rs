//! A path or method that is not there, a content type that is not taken, an answer that nobody can give.

use reqwest::Method;

use crate::bad_input::{is_refused, path, who};
use crate::road::{is_a_problem, over_http};
use crate::shared::{House, house};

pub async fn wrong_methods(house: &House) {
    let anyone = house.stack.anonymous();
    for (path, methods) in house.contract.openapi["paths"].as_object().expect("paths") {
        let there: Vec<String> =
            methods.as_object().expect("methods").keys().map(|it| it.to_uppercase()).collect();
        let place = path.replace("{asset}/{file}", "a/b.mp4").replace(['{', '}'], "");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if there.contains(&method.to_string()) || path == "/" {
                continue;
            }
            // the whole address: the seeds' paths stand outside of /api/v1
            let place = format!("{}{place}", house.stack.http_url());
            let answer = anyone.asks(method.clone(), &place).send().await.refused(405, "COMMON_0005");
            let allow: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
            for method in &there {
                assert!(allow.contains(&method.as_str()), "Allow does not name {method}: {answer}");
            }
            is_a_problem(&answer);
        }
    }
    anyone.gets("/no/such/path").await.refused(404, "COMMON_0006");
    anyone.gets("/healthy").await.refused(404, "COMMON_0006");
}

pub async fn wrong_media_types(house: &House) {
    let admin = who(house);
    for (operation, route) in house.contract.routed() {
        let ask = || over_http(&admin, route, &operation.example);
        if route.method != Method::GET {
            let form = (!route.form).then_some("application/x-www-form-urlencoded");
            for content_type in ["text/plain", "application/jsonp"].into_iter().chain(form) {
                let ask = admin.asks(route.method.clone(), &path(operation, route)).bytes(content_type, "{}");
                is_refused(operation, ask.send().await, 415, &["COMMON_0003"]);
            }
        }
        let html = ask().header("accept", "text/html, image/*").send().await;
        is_refused(operation, html, 406, &["COMMON_0008"]);
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_on_every_path_with_those_that_are_allowed() {
    wrong_methods(house().await).await;
}

#[tokio::test]
async fn a_wrong_content_type_or_accept_is_refused_on_every_route() {
    wrong_media_types(house().await).await;
}

//! Requests to providers: HTTPS by rustls and ring, no redirects, little patience, short answers, and few at once. A
//! provider that is slow or down keeps a few requests waiting and nobody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// A provider has this long for an answer, its body included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer answers are none, bytes. Keys with certificate chains come to some tens of thousands.
const LONGEST: usize = 256 * 1024;

/// A request got no answer that could be used. Says which step, and nothing that the provider said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Away(pub String);

/// The way to all providers.
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Web {
    /// A client that believes the public authorities and those besides.
    pub fn new(authorities: &[CertificateDer<'static>]) -> anyhow::Result<Web> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for authority in authorities {
            roots.add(authority.clone()).context("OIDC_CA_FILE")?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // a kept connection may be closed just when a code is sent over it, and a code can be sent once
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Web { client })
    }

    /// What a GET is answered with; anything but 200 is no answer.
    pub async fn get(&self, url: &str) -> Result<Bytes, Away> {
        let request = Request::get(url).header(ACCEPT, "application/json");
        match self.send(url, request.body(Full::default())).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(Away(format!("{url}: answered {status}"))),
        }
    }

    /// What a form is answered with, whatever the status.
    pub async fn post(
        &self,
        url: &str,
        authorization: Option<&str>,
        form: String,
    ) -> Result<(StatusCode, Bytes), Away> {
        let mut request = Request::post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.send(url, request.body(Full::from(form))).await
    }

    async fn send(
        &self,
        url: &str,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<(StatusCode, Bytes), Away> {
        let request = request.map_err(|error| Away(format!("{url}: {error}")))?;
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| outline(url, &error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|_| Away(format!("{url}: an answer that breaks off or is too long")))?;
            Ok((status, body.to_bytes()))
        };
        let late = |_| Away(format!("{url}: no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, answered).await.map_err(late)?
    }
}

fn outline(url: &str, error: &hyper_util::client::legacy::Error) -> Away {
    let step = if error.is_connect() { "no connection" } else { "the connection broke" };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Away(format!("{url}: {step}{cause}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    /// A server with a certificate that nobody but itself has signed; its URL and the certificate.
    async fn server() -> (String, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) =
            (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = [0; 4096];
                let read = stream.read(&mut asked).await.unwrap_or_default();
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                let (status, body) = match asked.split(' ').nth(1) {
                    Some("/moved") => ("302 Found\r\nlocation: /good", String::new()),
                    Some("/long") => ("200 OK", "x".repeat(LONGEST + 1)),
                    Some("/silent") => {
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_secs(30)).await;
                            drop(stream);
                        });
                        continue;
                    }
                    _ => ("200 OK", "{}".to_owned()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _hung_up = stream.write_all((head + &body).as_bytes()).await;
                let _hung_up = stream.shutdown().await;
            }
        });
        (url, certificate)
    }

    #[tokio::test]
    async fn i079_https_is_by_known_authorities_and_neither_redirects_nor_endless_answers_are_followed() {
        let (url, certificate) = server().await;
        let stranger = Web::new(&[]).unwrap();
        let away = stranger.get(&format!("{url}/good")).await.unwrap_err();
        assert!(away.0.contains("no connection"), "{away}");
        let web = Web::new(&[certificate]).unwrap();
        assert_eq!(web.get(&format!("{url}/good")).await.unwrap(), "{}");
        let (status, body) =
            web.post(&format!("{url}/good"), Some("Basic eDp5"), "a=b".to_owned()).await.unwrap();
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"{}"[..]));
        let other_name = url.replace("localhost", "127.0.0.1");
        for bad in
            ["/moved", "/long", "/silent"].map(|path| format!("{url}{path}")).into_iter().chain([other_name])
        {
            assert!(web.get(&bad).await.is_err(), "{bad}");
        }
    }
}

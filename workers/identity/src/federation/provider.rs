//! OpenID providers, as the settings say.

use std::collections::HashSet;
use std::net::IpAddr;

use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use url::Url;

pub(crate) const SOCIAL_LOGIN: Setting = Setting {
    name: "ENABLE_SOCIAL_LOGIN",
    default: Some("false"),
    secret: false,
    help: "true: users may sign in at the OpenID providers of OIDC_PROVIDERS; false: the requests are not there",
};
pub(crate) const PROVIDERS: Setting = Setting {
    name: "OIDC_PROVIDERS",
    default: None,
    secret: false,
    help: "names of OpenID providers, separated by commas, as in google,keycloak: a to z, digits, dashes, at most 32; each has the settings below under its name in capitals, dashes as underscores",
};
pub(crate) const ISSUER: Setting = Setting {
    name: "OIDC_*_ISSUER",
    default: None,
    secret: false,
    help: "the provider's issuer, exactly as it writes it itself, for example https://accounts.google.com; http only on this machine in development and test",
};
pub(crate) const CLIENT_ID: Setting =
    Setting { name: "OIDC_*_CLIENT_ID", default: None, secret: false, help: "who we are at the provider" };
pub(crate) const CLIENT_SECRET: Setting = Setting {
    name: "OIDC_*_CLIENT_SECRET",
    default: None,
    secret: true,
    help: "how we prove it there; absent: a public client, which PKCE alone protects",
};
pub(crate) const SCOPES: Setting = Setting {
    name: "OIDC_*_SCOPES",
    default: Some("openid email profile"),
    secret: false,
    help: "what is asked of the provider, separated by spaces; without openid there is no sign-in, without email no sign-up",
};
pub(crate) const NAME: Setting = Setting {
    name: "OIDC_*_NAME",
    default: None,
    secret: false,
    help: "what people call the provider, 1 to 50 characters; absent: its name with a capital",
};
pub(crate) const REDIRECT_URL: Setting = Setting {
    name: "OIDC_REDIRECT_URL",
    default: None,
    secret: false,
    help: "where providers send browsers back to, {provider} in it stands for the name; absent: PUBLIC_URL/api/v1/auth/oidc/{provider}/callback. A page of your own hands its query on to there",
};
pub(crate) const CA_FILE: Setting = Setting {
    name: "OIDC_CA_FILE",
    default: None,
    secret: false,
    help: "PEM file of certificate authorities of your own that providers' certificates are from; absent: the public ones only",
};

/// Where else one may sign in.
#[derive(Debug, Clone)]
pub(crate) struct Providers {
    /// In the order of the setting; at least one.
    pub all: Vec<Provider>,
    /// Authorities besides the public ones.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// One provider, and who we are there.
#[derive(Clone)]
pub(crate) struct Provider {
    /// What requests call it.
    pub id: String,
    /// What people call it.
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<String>,
    pub scopes: String,
    pub redirect_url: String,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("id", &self.id).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// None where sign-in at providers is switched off. `guarded`: the rules of production hold.
pub(crate) fn read(env: &Env, guarded: bool, public_url: &str) -> Result<Option<Providers>, ConfigError> {
    if !env.parse::<bool>(&SOCIAL_LOGIN)? {
        return Ok(None);
    }
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for id in env.require(&PROVIDERS)?.split(',').map(str::trim) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&id.len()) || !id.bytes().all(plain) || !seen.insert(id) {
            let reason = format!("{id:?} is no name, or there twice; {}", PROVIDERS.help);
            return Err(ConfigError::new(PROVIDERS.name, reason));
        }
        all.push(provider(env, guarded, public_url, id)?);
    }
    // an account is found by issuer and subject: two providers of one issuer would share their accounts
    let issuers: HashSet<&str> = all.iter().map(|provider| provider.issuer.as_str()).collect();
    if issuers.len() < all.len() {
        return Err(ConfigError::new(PROVIDERS.name, "two of them have the same issuer"));
    }
    Ok(Some(Providers { all, authorities: authorities(env)? }))
}

fn provider(env: &Env, guarded: bool, public_url: &str, id: &str) -> Result<Provider, ConfigError> {
    let which = id.to_uppercase().replace('-', "_");
    let wrong = |setting: &Setting, reason: String| ConfigError::new(&setting.name_of(&which), reason);
    let get = |setting: &Setting| env.get_of(setting, &which);
    let required = |setting: &Setting| {
        get(setting).ok_or_else(|| wrong(setting, format!("is required: {}", setting.help)))
    };
    let issuer = required(&ISSUER)?;
    if !is_safe(issuer, guarded) {
        return Err(wrong(&ISSUER, format!("{issuer:?}: not good here; {}", ISSUER.help)));
    }
    let scopes = get(&SCOPES).unwrap_or_default();
    if !scopes.split(' ').any(|scope| scope == "openid") {
        return Err(wrong(&SCOPES, format!("{scopes:?}: without openid; {}", SCOPES.help)));
    }
    let name = get(&NAME).map_or_else(|| capitalised(id), str::to_owned);
    if !(1..=50).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(wrong(&NAME, format!("{name:?}: {}", NAME.help)));
    }
    let redirect_url = match env.get(&REDIRECT_URL) {
        Some(url) => url.replace("{provider}", id),
        None => format!("{public_url}/api/v1/auth/oidc/{id}/callback"),
    };
    if Url::parse(&redirect_url).is_err() || redirect_url.contains('#') {
        return Err(ConfigError::new(REDIRECT_URL.name, format!("{redirect_url:?}: {}", REDIRECT_URL.help)));
    }
    Ok(Provider {
        id: id.to_owned(),
        name,
        issuer: issuer.to_owned(),
        client_id: required(&CLIENT_ID)?.to_owned(),
        client_secret: get(&CLIENT_SECRET).map(str::to_owned),
        scopes: scopes.to_owned(),
        redirect_url,
    })
}

fn capitalised(id: &str) -> String {
    let mut letters = id.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Whether nobody can listen in on the way to a URL, or in between on this machine where that matters little.
fn is_safe(url: &str, guarded: bool) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    let plain = parsed.query().is_none() && parsed.fragment().is_none() && parsed.username().is_empty();
    let way = match parsed.scheme() {
        "https" => true,
        "http" => !guarded && is_loopback(&parsed),
        _ => false,
    };
    plain && way && parsed.has_host()
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authorities(env: &Env) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let Some(path) = env.get(&CA_FILE) else { return Ok(Vec::new()) };
    let wrong = |error: &dyn std::fmt::Display| ConfigError::new(CA_FILE.name, format!("{path}: {error}"));
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    if all.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(guarded: bool, pairs: &[(&str, &str)]) -> Result<Option<Providers>, String> {
        let on = [
            ("ENABLE_SOCIAL_LOGIN", "true"),
            ("OIDC_PROVIDERS", "google"),
            ("OIDC_GOOGLE_ISSUER", "https://accounts.google.com"),
            ("OIDC_GOOGLE_CLIENT_ID", "lectern"),
        ];
        let pairs = on.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(&Env::of(pairs), guarded, "https://learn.example.org").map_err(|error| error.name)
    }

    #[test]
    fn i079_i165_social_login_is_off_unless_switched_on_and_then_needs_providers() {
        assert!(read(&Env::of([]), true, "").unwrap().is_none());
        assert_eq!(with(true, &[("OIDC_PROVIDERS", "")]).unwrap_err(), "OIDC_PROVIDERS");
        let google = with(true, &[]).unwrap().unwrap().all.remove(0);
        assert_eq!((google.id.as_str(), google.name.as_str()), ("google", "Google"));
        assert_eq!(google.scopes, "openid email profile");
        assert_eq!(google.redirect_url, "https://learn.example.org/api/v1/auth/oidc/google/callback");
        assert!(google.client_secret.is_none());
    }

    #[test]
    fn i079_an_impossible_provider_stops_the_start_and_names_its_variable() {
        for (name, value) in [
            ("OIDC_PROVIDERS", "Google"),
            ("OIDC_PROVIDERS", "google,google"),
            ("OIDC_PROVIDERS", "google,"),
            ("OIDC_GOOGLE_ISSUER", ""),
            ("OIDC_GOOGLE_ISSUER", "accounts.google.com"),
            ("OIDC_GOOGLE_ISSUER", "http://accounts.google.com"),
            ("OIDC_GOOGLE_ISSUER", "http://127.0.0.1:8080/realms/a"),
            ("OIDC_GOOGLE_ISSUER", "https://accounts.google.com?x=1"),
            ("OIDC_GOOGLE_CLIENT_ID", ""),
            ("OIDC_GOOGLE_SCOPES", "email profile"),
            ("OIDC_GOOGLE_NAME", "Goo\ngle"),
            ("OIDC_REDIRECT_URL", "/{provider}"),
            ("OIDC_CA_FILE", "/nowhere.pem"),
        ] {
            assert_eq!(with(true, &[(name, value)]).unwrap_err(), name, "{value:?}");
        }
        assert!(with(false, &[("OIDC_GOOGLE_ISSUER", "http://127.0.0.1:8080/realms/a")]).is_ok());
        let twins = [
            ("OIDC_PROVIDERS", "google,my-own"),
            ("OIDC_MY_OWN_ISSUER", "https://accounts.google.com"),
            ("OIDC_MY_OWN_CLIENT_ID", "x"),
        ];
        assert_eq!(with(true, &twins).unwrap_err(), "OIDC_PROVIDERS");
    }

    #[test]
    fn a_client_secret_is_never_shown() {
        let made = with(true, &[("OIDC_GOOGLE_CLIENT_SECRET", "hush-hush")]).unwrap().unwrap();
        assert_eq!(made.all[0].client_secret.as_deref(), Some("hush-hush"));
        assert!(!format!("{made:?}").contains("hush"));
    }
}

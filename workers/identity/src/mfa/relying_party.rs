//! Who passkeys are made for and signed by (WebAuthn), as the settings say.

use lectern_core::Env;
use lectern_core::config::{ConfigError, Setting};
use webauthn_rs::prelude::{Url, Webauthn, WebauthnBuilder};

pub(crate) const PASSKEYS: Setting = Setting {
    name: "PASSKEYS_ENABLED",
    default: Some("false"),
    secret: false,
    help: "true: users may sign in with passkeys (WebAuthn); false: the requests are not there",
};
pub(crate) const RP_ID: Setting = Setting {
    name: "WEBAUTHN_RP_ID",
    default: Some("localhost"),
    secret: false,
    help: "the domain that passkeys are bound to; changing it makes all of them useless",
};
pub(crate) const RP_ORIGINS: Setting = Setting {
    name: "WEBAUTHN_ORIGINS",
    default: Some("http://localhost:3000"),
    secret: false,
    help: "origins of the pages that ask for passkeys, separated by commas, within that domain; https in staging and production",
};

/// None where passkeys are switched off.
pub(crate) fn read(env: &Env, guarded: bool) -> Result<Option<Webauthn>, ConfigError> {
    if !env.parse::<bool>(&PASSKEYS)? {
        return Ok(None);
    }
    let wrong = |reason: String| ConfigError::new(RP_ORIGINS.name, reason);
    let mut origins = Vec::new();
    for origin in env.require(&RP_ORIGINS)?.split(',') {
        let origin = Url::parse(origin.trim()).map_err(|error| wrong(format!("{origin}: {error}")))?;
        if guarded && origin.scheme() != "https" {
            return Err(wrong(format!("{origin} is not https")));
        }
        // it checks the first origin only, so each is checked as a first one
        WebauthnBuilder::new(env.require(&RP_ID)?, &origin)
            .map_err(|_| wrong(format!("{origin} is not within {}", RP_ID.name)))?;
        origins.push(origin);
    }
    let (first, rest) = origins.split_first().ok_or_else(|| wrong("at least one".to_owned()))?;
    let mut builder = WebauthnBuilder::new(env.require(&RP_ID)?, first).map_err(|e| wrong(e.to_string()))?;
    for origin in rest {
        builder = builder.append_allowed_origin(origin);
    }
    builder.rp_name("Lectern").build().map(Some).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_need_origins_within_their_domain_and_https_where_it_matters() {
        let with = |guarded: bool, pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            read(&Env::of(pairs.chain([(PASSKEYS.name.to_owned(), "true".to_owned())])), guarded)
        };
        assert!(read(&Env::of([]), false).unwrap().is_none());
        assert!(with(false, &[]).unwrap().is_some());
        let two = (RP_ORIGINS.name, "https://learn.example.com, https://example.com");
        let made = with(true, &[(RP_ID.name, "example.com"), two]).unwrap().unwrap();
        assert_eq!(made.get_allowed_origins().len(), 2);
        for origins in ["https://example.com,https://example.org", "https://badexample.com", "nonsense", ""] {
            let refused =
                with(false, &[(RP_ID.name, "example.com"), (RP_ORIGINS.name, origins)]).unwrap_err();
            assert_eq!(refused.name, RP_ORIGINS.name, "{origins}");
        }
        assert_eq!(with(true, &[]).unwrap_err().name, RP_ORIGINS.name);
    }
}

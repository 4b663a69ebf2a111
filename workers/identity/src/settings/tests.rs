//! What settings come to.

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::read(&Env::of(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))))
}

#[test]
fn c24_the_fixed_code_exists_only_in_the_test_environment() {
    assert_eq!(read(&[("ENVIRONMENT", "test")]).unwrap().fixed_code.as_deref(), Some("123456"));
    assert_eq!(read(&[]).unwrap().fixed_code, None);
    for environment in ["development", "staging", "production"] {
        let refused = read(&[("ENVIRONMENT", environment), (FIXED_CODE.name, "123456")]).unwrap_err();
        assert_eq!(refused.name, FIXED_CODE.name);
    }
}

#[test]
fn sign_in_needs_a_verified_address_in_staging_and_production_unless_told_otherwise() {
    let needs = |pairs: &[(&str, &str)]| read(pairs).unwrap().requires_verified_email;
    assert!(needs(&[("ENVIRONMENT", "production")]) && needs(&[("ENVIRONMENT", "staging")]));
    assert!(!needs(&[("ENVIRONMENT", "development")]) && !needs(&[("ENVIRONMENT", "test")]));
    assert!(needs(&[("ENVIRONMENT", "test"), (REQUIRES_VERIFIED.name, "true")]));
}

#[test]
fn i080_without_verification_nobody_is_asked_for_a_verified_address() {
    let off = ("ENABLE_EMAIL_VERIFICATION", "false");
    assert!(read(&[]).unwrap().email_verification);
    let production = read(&[("ENVIRONMENT", "production"), off]).unwrap();
    assert!(!production.email_verification && !production.requires_verified_email);
    assert_eq!(read(&[off, (REQUIRES_VERIFIED.name, "true")]).unwrap_err().name, REQUIRES_VERIFIED.name);
}

#[test]
fn i165_the_flags_of_seed_001_have_its_defaults() {
    let settings = read(&[]).unwrap();
    assert!(settings.email_verification && !settings.two_factor);
    assert_eq!((settings.password_history, settings.max_sessions), (5, Some(5)));
    assert_eq!((settings.max_attempts, settings.lockout), (5, TimeDelta::minutes(15)));
    assert_eq!((settings.access_life, settings.idle_life), (TimeDelta::minutes(30), TimeDelta::days(7)));
}

#[test]
fn impossible_values_name_their_variable() {
    for (name, value) in [
        (ACCESS_MINUTES.name, "0"),
        (MAX_ATTEMPTS.name, "many"),
        (ARGON2_M_KIB.name, "7"),
        (GRACE_SECONDS.name, "61"),
        (REQUIRES_VERIFIED.name, "perhaps"),
        (INVITATION_DAYS.name, "31"),
        (STEP_UP_SECONDS.name, "0"),
        (TWO_FACTOR.name, "sometimes"),
        (EMAIL_VERIFICATION.name, "later"),
        (LOGIN_RATE.name, "5"),
        (REGISTER_RATE.name, "0/h"),
        (SESSION_LIMIT_POLICY.name, "evict"),
        (PASSWORD_PROFILE.name, "strict"),
        (PASSWORD_HISTORY_SIZE.name, "25"),
        (PUBLIC_URL.name, "lectern.example"),
        (PUBLIC_URL.name, "https://"),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap_err().name, name);
    }
}

#[test]
fn i077_password_history_is_five_and_can_be_switched_off() {
    assert_eq!(read(&[]).unwrap().password_history, 5);
    assert_eq!(read(&[("PASSWORD_HISTORY_SIZE", "24")]).unwrap().password_history, 24);
    assert_eq!(read(&[("ENABLE_PASSWORD_HISTORY", "false")]).unwrap().password_history, 0);
}

#[test]
fn links_to_customers_are_https() {
    let smtp = [("SMTP_HOST", "mail.example.org"), ("EMAIL_FROM", "no-reply@example.org")];
    let with = |more: &[(&'static str, &'static str)]| read(&[&smtp, more].concat());
    assert_eq!(with(&[]).unwrap().public_url, "http://127.0.0.1:3000");
    assert_eq!(with(&[("ENVIRONMENT", "production")]).unwrap_err().name, PUBLIC_URL.name);
    let site = [("ENVIRONMENT", "production"), ("PUBLIC_URL", "https://learn.example/")];
    assert_eq!(with(&site).unwrap().public_url, "https://learn.example");
}

#[test]
fn c2_a_role_of_ones_own_choosing_is_for_development_and_test() {
    let read_in = |environment| read(&[("ENVIRONMENT", environment), (ROLE_ON_REGISTER.name, "true")]);
    assert!(read_in("development").unwrap().role_on_register && read_in("test").unwrap().role_on_register);
    assert!(!read(&[]).unwrap().role_on_register);
    for environment in ["staging", "production"] {
        assert_eq!(read_in(environment).unwrap_err().name, ROLE_ON_REGISTER.name);
    }
}

#[test]
fn an_issuer_is_a_name_or_a_url_that_documents_can_hang_from() {
    for good in ["lectern", "https://learn.example.org", "http://127.0.0.1:3000/base"] {
        assert_eq!(read(&[("JWT_ISSUER", good)]).unwrap().issuer, good);
    }
    for bad in ["https://learn.example.org/", "https://a.org?x", "urn:a", "two words", "https://a.org#b"] {
        assert_eq!(read(&[("JWT_ISSUER", bad)]).unwrap_err().name, "JWT_ISSUER", "{bad}");
    }
}

#[test]
fn cheap_password_hashes_are_refused_where_it_matters() {
    assert!(read(&[("ARGON2_M_KIB", "8"), ("ARGON2_T", "1")]).is_ok());
    let refused = read(&[("ENVIRONMENT", "production"), ("ARGON2_M_KIB", "64")]).unwrap_err();
    assert_eq!(refused.name, ARGON2_M_KIB.name);
}

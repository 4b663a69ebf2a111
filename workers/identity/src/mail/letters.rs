//! The letters that identity writes, in English and Korean.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One letter.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub to: String,
    pub subject: String,
    /// Paragraphs, separated by empty lines; a line that is nothing but a URL becomes a link.
    pub text: String,
}

/// What a letter is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// For every locale that is not Korean.
    English,
    /// For `ko` and `ko-KR`.
    Korean,
}

impl Language {
    /// The language for an account's locale.
    pub fn of(locale: &str) -> Language {
        if locale.split('-').next() == Some("ko") { Language::Korean } else { Language::English }
    }

    /// Picks from the two translations of a letter: subject and paragraphs.
    fn write(self, to: &str, english: (&str, &[&str]), korean: (&str, &[&str])) -> Letter {
        let (subject, paragraphs) = match self {
            Language::English => english,
            Language::Korean => korean,
        };
        Letter { to: to.to_owned(), subject: subject.to_owned(), text: paragraphs.join("\n\n") }
    }
}

/// A link that sets a password, for a person, and its token, for who calls the API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link<'a> {
    pub url: &'a str,
    pub token: &'a str,
}

impl Letter {
    /// The code that verifies an address.
    pub fn verification(to: &str, language: Language, code: &str, minutes: i64) -> Letter {
        language.write(
            to,
            (
                "Verify your e-mail address",
                &[
                    &format!("Your verification code is {code}. It is good for {minutes} minutes."),
                    "If you did not sign up, ignore this letter.",
                ],
            ),
            (
                "이메일 주소를 인증해 주세요",
                &[
                    &format!("인증 코드는 {code} 입니다. {minutes}분 동안 사용할 수 있습니다."),
                    "가입하신 적이 없다면 이 메일을 무시해 주세요.",
                ],
            ),
        )
    }

    /// The link that sets a new password, for who forgot theirs.
    pub fn password_reset(to: &str, language: Language, link: Link, minutes: i64) -> Letter {
        language.write(
            to,
            (
                "Set a new password",
                &[
                    &format!(
                        "Somebody, probably you, asked for a new password. This link is good once, for {minutes} minutes:"
                    ),
                    link.url,
                    &format!("If you use the API, this is the token:\n{}", link.token),
                    "If it was not you, ignore this letter: your password stays as it is.",
                ],
            ),
            (
                "새 비밀번호를 설정해 주세요",
                &[
                    &format!("비밀번호 재설정 요청을 받았습니다. 아래 링크는 {minutes}분 동안 한 번만 사용할 수 있습니다."),
                    link.url,
                    &format!("API를 사용하신다면 다음 토큰을 쓰세요:\n{}", link.token),
                    "본인이 요청하지 않았다면 이 메일을 무시해 주세요. 비밀번호는 바뀌지 않습니다.",
                ],
            ),
        )
    }

    /// The password is another one now.
    pub fn password_changed(to: &str, language: Language) -> Letter {
        language.write(
            to,
            (
                "Your password was changed",
                &[
                    "The password of your account was changed, and other sessions were ended.",
                    "If it was not you, set a new password at once with \"forgot password\" and tell support.",
                ],
            ),
            (
                "비밀번호가 변경되었습니다",
                &[
                    "계정의 비밀번호가 변경되었고, 다른 세션은 종료되었습니다.",
                    "본인이 변경하지 않았다면 바로 \"비밀번호 찾기\"로 새 비밀번호를 설정하고 고객 지원에 알려 주세요.",
                ],
            ),
        )
    }

    /// What proves that the account is its owner's has changed: `kind` and `action` as the fact names them.
    pub fn credential_changed(to: &str, language: Language, kind: &str, action: &str) -> Letter {
        let (one, only, korean) = match kind {
            "totp" => ("An authenticator app", "authenticator app", "인증 앱"),
            "recovery" => ("A recovery code", "recovery codes", "복구 코드"),
            _ => ("A passkey", "passkey", "패스키"),
        };
        let (what, korean) = match (kind, action) {
            ("recovery", "added" | "replaced") => (
                "New recovery codes were made for your account".to_owned(),
                "새 복구 코드가 만들어졌습니다".to_owned(),
            ),
            ("recovery", "used") => (
                "A recovery code of yours was used to sign in".to_owned(),
                "로그인에 복구 코드가 사용되었습니다".to_owned(),
            ),
            (_, "added") => {
                (format!("{one} was added to your account"), format!("계정에 추가되었습니다: {korean}"))
            }
            (_, "replaced") => {
                (format!("The {only} of your account was replaced"), format!("교체되었습니다: {korean}"))
            }
            (_, _) => {
                (format!("{one} was removed from your account"), format!("계정에서 삭제되었습니다: {korean}"))
            }
        };
        language.write(
            to,
            (
                &what,
                &[
                    &format!("{what}."),
                    "If that was not you, somebody else may have signed in: change your password, and end the sessions \
                     that you don't know.",
                ],
            ),
            (
                &korean,
                &[
                    &format!("{korean}."),
                    "본인이 하지 않았다면 다른 사람이 로그인했을 수 있습니다. 비밀번호를 변경하고 모르는 세션을 종료해 주세요.",
                ],
            ),
        )
    }

    /// An account at a provider signs in from now on; `provider` is what people call it.
    pub fn identity_linked(to: &str, language: Language, provider: &str) -> Letter {
        language.write(
            to,
            (
                &format!("You can sign in with {provider} now"),
                &[
                    &format!("Your account here is linked to an account at {provider}, which signs in to it from now on."),
                    "If that was not you, sign in, remove the link, set a new password, and end the sessions that you don't \
                     know.",
                ],
            ),
            (
                &format!("이제 {provider} 계정으로 로그인할 수 있습니다"),
                &[
                    &format!("계정이 {provider} 계정과 연결되어, 이제 그 계정으로 로그인할 수 있습니다."),
                    "본인이 하지 않았다면 로그인하여 연결을 해제하고 새 비밀번호를 설정한 뒤 모르는 세션을 종료해 주세요.",
                ],
            ),
        )
    }

    /// It signs in no longer.
    pub fn identity_unlinked(to: &str, language: Language, provider: &str) -> Letter {
        language.write(
            to,
            (
                &format!("You can no longer sign in with {provider}"),
                &[
                    &format!("The link of your account to an account at {provider} was removed."),
                    "If that was not you, set a new password with \"forgot password\", and end the sessions that you don't know.",
                ],
            ),
            (
                &format!("이제 {provider} 계정으로 로그인할 수 없습니다"),
                &[
                    &format!("계정과 {provider} 계정의 연결이 해제되었습니다."),
                    "본인이 하지 않았다면 \"비밀번호 찾기\"로 새 비밀번호를 설정하고 모르는 세션을 종료해 주세요.",
                ],
            ),
        )
    }

    /// Somebody used a refresh token that was used before.
    pub fn reuse_detected(to: &str, language: Language) -> Letter {
        language.write(
            to,
            (
                "We ended one of your sessions",
                &[
                    "A sign-in token of yours was used a second time. That happens when somebody copied it, so the \
                     session was ended.",
                    "Sign in again. If you did not expect this, change your password.",
                ],
            ),
            (
                "세션 하나를 종료했습니다",
                &[
                    "이미 사용된 로그인 토큰이 다시 사용되었습니다. 누군가 토큰을 복사했을 수 있어 해당 세션을 종료했습니다.",
                    "다시 로그인해 주세요. 짐작 가는 일이 없다면 비밀번호를 변경해 주세요.",
                ],
            ),
        )
    }
}

impl Letter {
    /// The link that sets a new password, which an admin asked for.
    pub fn admin_reset(to: &str, language: Language, link: Link, minutes: i64) -> Letter {
        language.write(
            to,
            (
                "Set a new password",
                &[
                    &format!(
                        "An administrator asks you to set a new password. This link is good once, for {minutes} minutes:"
                    ),
                    link.url,
                    &format!("If you use the API, this is the token:\n{}", link.token),
                ],
            ),
            (
                "새 비밀번호를 설정해 주세요",
                &[
                    &format!(
                        "관리자가 비밀번호 재설정을 요청했습니다. 아래 링크는 {minutes}분 동안 한 번만 사용할 수 있습니다."
                    ),
                    link.url,
                    &format!("API를 사용하신다면 다음 토큰을 쓰세요:\n{}", link.token),
                ],
            ),
        )
    }

    /// An account was made for somebody: the link sets its first password.
    pub fn invitation(to: &str, language: Language, link: Link, hours: i64) -> Letter {
        language.write(
            to,
            (
                "An account was made for you",
                &[
                    &format!("Choose a password and sign in. This link is good once, for {hours} hours:"),
                    link.url,
                    &format!("If you use the API, this is the token:\n{}", link.token),
                ],
            ),
            (
                "계정이 만들어졌습니다",
                &[
                    &format!("비밀번호를 정하고 로그인해 주세요. 아래 링크는 {hours}시간 동안 한 번만 사용할 수 있습니다."),
                    link.url,
                    &format!("API를 사용하신다면 다음 토큰을 쓰세요:\n{}", link.token),
                ],
            ),
        )
    }

    /// The code that confirms an account's new address; `to` is the new one.
    pub fn email_change_code(to: &str, language: Language, code: &str, minutes: i64) -> Letter {
        language.write(
            to,
            (
                "Confirm your new e-mail address",
                &[
                    &format!("Your code is {code}. It is good for {minutes} minutes."),
                    "If you did not ask for another address, ignore this letter.",
                ],
            ),
            (
                "새 이메일 주소를 확인해 주세요",
                &[
                    &format!("확인 코드는 {code} 입니다. {minutes}분 동안 사용할 수 있습니다."),
                    "이메일 변경을 요청하신 적이 없다면 이 메일을 무시해 주세요.",
                ],
            ),
        )
    }

    /// The account has another address now; `to` is the old one.
    pub fn email_changed(to: &str, language: Language) -> Letter {
        language.write(
            to,
            (
                "Your e-mail address was changed",
                &[
                    "Your account has another e-mail address now. Letters no longer come to this one.",
                    "If it was not you, tell support at once.",
                ],
            ),
            (
                "이메일 주소가 변경되었습니다",
                &[
                    "계정의 이메일 주소가 변경되었습니다. 앞으로 이 주소로는 메일을 보내지 않습니다.",
                    "본인이 변경하지 않았다면 바로 고객 지원에 알려 주세요.",
                ],
            ),
        )
    }

    /// Too many wrong passwords.
    pub fn account_locked(to: &str, language: Language, minutes: i64) -> Letter {
        language.write(
            to,
            (
                "Your account is locked for now",
                &[
                    &format!(
                        "Somebody gave a wrong password for your account too often. It is locked for {minutes} minutes."
                    ),
                    "You need not wait: set a new password with \"forgot password\", and you can sign in.",
                ],
            ),
            (
                "계정이 잠시 잠겼습니다",
                &[
                    &format!("잘못된 비밀번호가 여러 번 입력되어 계정이 {minutes}분 동안 잠겼습니다."),
                    "기다리지 않으셔도 됩니다. \"비밀번호 찾기\"로 새 비밀번호를 설정하면 바로 로그인할 수 있습니다.",
                ],
            ),
        )
    }

    /// A sign-in from where there was none before. `device` is what identity made of it, never the client's own words;
    /// the link ends the new session.
    pub fn new_sign_in(to: &str, language: Language, at: DateTime<Utc>, device: &str, link: Link) -> Letter {
        let at = at.format("%Y-%m-%d %H:%M UTC");
        language.write(
            to,
            (
                "A new sign-in to your account",
                &[
                    &format!("Your account was signed in to from somewhere new.\nWhen: {at}\nFrom: {device}"),
                    "If it was you, there is nothing to do. If not, end that session here and change your password:",
                    link.url,
                    &format!("If you use the API, this is the token:\n{}", link.token),
                ],
            ),
            (
                "새로운 로그인이 있었습니다",
                &[
                    &format!("새로운 환경에서 계정에 로그인했습니다.\n시각: {at}\n기기: {device}"),
                    "본인이라면 아무것도 하지 않으셔도 됩니다. 아니라면 아래에서 그 세션을 종료하고 비밀번호를 변경해 주세요.",
                    link.url,
                    &format!("API를 사용하신다면 다음 토큰을 쓰세요:\n{}", link.token),
                ],
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(language: Language) -> Vec<Letter> {
        let to = "alice@example.org";
        let link = Link { url: "https://lectern.example/password/reset#token=t0k3n", token: "t0k3n" };
        let at = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        vec![
            Letter::verification(to, language, "482913", 10),
            Letter::password_reset(to, language, link, 30),
            Letter::admin_reset(to, language, link, 30),
            Letter::invitation(to, language, link, 72),
            Letter::password_changed(to, language),
            Letter::reuse_detected(to, language),
            Letter::credential_changed(to, language, "totp", "added"),
            Letter::credential_changed(to, language, "totp", "replaced"),
            Letter::credential_changed(to, language, "recovery", "replaced"),
            Letter::credential_changed(to, language, "recovery", "used"),
            Letter::credential_changed(to, language, "passkey", "removed"),
            Letter::identity_linked(to, language, "Google"),
            Letter::identity_unlinked(to, language, "Google"),
            Letter::email_change_code(to, language, "482913", 10),
            Letter::email_changed(to, language),
            Letter::account_locked(to, language, 15),
            Letter::new_sign_in(to, language, at, "Firefox", link),
        ]
    }

    #[test]
    fn korean_goes_to_korean_locales_and_english_to_all_others() {
        for (locale, language) in [
            ("ko", Language::Korean),
            ("ko-KR", Language::Korean),
            ("en", Language::English),
            ("de-DE", Language::English),
            ("kok", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(Language::of(locale), language, "{locale}");
        }
    }

    #[test]
    fn every_letter_is_there_in_both_languages_and_says_the_same_facts() {
        let hangul = |text: &str| text.chars().any(|c| ('가'..='힣').contains(&c));
        for (english, korean) in all(Language::English).into_iter().zip(all(Language::Korean)) {
            assert!(english.subject.is_ascii() && english.text.is_ascii(), "{}", english.subject);
            assert!(hangul(&korean.subject) && hangul(&korean.text), "{}", english.subject);
            assert_eq!(english.to, korean.to);
            for fact in ["482913", "https://", "t0k3n", "10", "30", "72", "15", "Firefox", "Google"] {
                assert_eq!(
                    english.text.contains(fact),
                    korean.text.contains(fact),
                    "{}: {fact}",
                    english.subject
                );
            }
        }
    }

    #[test]
    fn a_link_stands_on_a_line_of_its_own() {
        for letter in all(Language::English).into_iter().chain(all(Language::Korean)) {
            for line in letter.text.lines().filter(|line| line.contains("https://")) {
                assert!(line.starts_with("https://") && !line.contains(' '), "{line}");
            }
        }
    }
}

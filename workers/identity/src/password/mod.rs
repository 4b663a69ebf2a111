//! What a password must be (identity spec C9). Profile `seed` asks for the classes of characters of seed 001; `nist` asks
//! for length alone (800-63B: no composition rules). Both refuse common words and whatever is of the password's owner.

pub(crate) mod change;
pub(crate) mod forgot;
pub(crate) mod new_password;
pub(crate) mod reset;
pub(crate) mod reset_links;

mod hashing;
mod legacy;

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::LazyLock;

use lectern_subjects::identity::IdentityRefusal;
use lectern_subjects::{Refusal, Refused};
use serde_json::{Value, json};

pub(crate) use hashing::{Hashing, NotHashed, Verdict, hash_once};

/// At least one of these (seed 001).
const SYMBOLS: &str = "!@#$%^&*()_+-=";
const MIN_CHARS: usize = 8;
const MAX_CHARS: usize = 128;
/// A shorter word is no sign of a bad password: many good ones contain a name like "Al", and seed 001 registers
/// `test@example.com` and "E2E Test User" with `Test1234!`.
const SHORTEST_CONTEXT: usize = 5;
const SHORTEST_STEM: usize = 5;

/// The 20,000 most common passwords of published leaks, lower-cased, as Django ships them (Royce Williams, 2019).
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common.txt").lines().collect());

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Seed 001's: upper and lower case, a digit, a symbol.
    Seed,
    /// Any characters.
    Nist,
}

impl FromStr for Rules {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Rules, &'static str> {
        match text {
            "seed" => Ok(Rules::Seed),
            "nist" => Ok(Rules::Nist),
            _ => Err("no such profile"),
        }
    }
}

/// Checks a new password of the person with this address and name; `pointer` is where it stands in the request.
///
/// # Errors
/// USER_1103, whose details name every rule that is missed.
pub(crate) fn check(
    profile: Rules,
    pointer: &str,
    password: &str,
    email: &str,
    name: &str,
) -> Result<(), Refused<IdentityRefusal>> {
    let missed = missed_rules(profile, pointer, password, email, name);
    if missed.is_empty() { Ok(()) } else { Err(IdentityRefusal::WeakPassword.because(Value::Array(missed))) }
}

fn missed_rules(profile: Rules, pointer: &str, password: &str, email: &str, name: &str) -> Vec<Value> {
    let has = |test: fn(char) -> bool| profile == Rules::Nist || password.chars().any(test);
    let chars = password.chars().count();
    let rules = [
        ("length", "at least 8 characters", chars >= MIN_CHARS),
        ("max_length", "at most 128 characters", chars <= MAX_CHARS),
        ("upper", "an upper-case letter", has(char::is_uppercase)),
        ("lower", "a lower-case letter", has(char::is_lowercase)),
        ("digit", "a digit", has(|c| c.is_ascii_digit())),
        ("symbol", "one of !@#$%^&*()_+-=", has(|c| SYMBOLS.contains(c))),
        ("nul", "no NUL character", !password.contains('\0')),
        ("common", "not one of the passwords that everyone tries first", !is_common(password)),
        ("context", "nothing of the e-mail address or the name", !contains_owner(password, email, name)),
    ];
    rules
        .into_iter()
        .filter(|(_, _, kept)| !kept)
        .map(|(rule, reason, _)| json!({ "pointer": pointer, "rule": rule, "reason": reason }))
        .collect()
}

/// Common as it stands, or a common word dressed up: `Password1!`, `P@ssw0rd2024`.
fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let stem = lower.trim_start_matches(|c: char| !c.is_alphabetic());
    let stem = stem.trim_end_matches(|c: char| !c.is_alphabetic());
    let plain = without_disguise(stem);
    let common_stem = |stem: &str| stem.chars().count() >= SHORTEST_STEM && COMMON.contains(stem);
    COMMON.contains(lower.as_str()) || common_stem(stem) || common_stem(&plain)
}

/// Letters for the signs that are written in their place.
fn without_disguise(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '0' => 'o',
            '1' | '!' => 'i',
            '3' => 'e',
            '4' | '@' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            other => other,
        })
        .collect()
}

fn contains_owner(password: &str, email: &str, name: &str) -> bool {
    let lower = password.to_lowercase();
    let email = email.to_lowercase();
    let local = email.rsplit_once('@').map_or(email.as_str(), |(local, _)| local);
    let name = name.to_lowercase();
    let words = name.split_whitespace().chain([local, name.trim()]);
    words.filter(|word| word.chars().count() >= SHORTEST_CONTEXT).any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(password: &str) -> Vec<String> {
        missed_by(Rules::Seed, password)
    }

    fn missed_by(profile: Rules, password: &str) -> Vec<String> {
        missed_rules(profile, "/password", password, "alice.kim@example.org", "Alice Kim")
            .iter()
            .map(|rule| rule["rule"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn i038_the_seeds_own_examples_are_good() {
        for good in ["SecurePass123!", "Test1234!", "Correct-Horse-7!", "Ünïcödé-wörds-9"] {
            assert_eq!(missed(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn i038_every_missed_rule_is_named() {
        assert_eq!(missed("xqz"), ["length", "upper", "digit", "symbol"]);
        assert_eq!(missed(""), ["length", "upper", "lower", "digit", "symbol"]);
        assert_eq!(missed("ZQXWVKJ1!"), ["lower"]);
        assert_eq!(missed("Zqxwvkj1"), ["symbol"]);
        assert_eq!(missed("Xy7!wq"), ["length"]);
    }

    #[test]
    fn c9_the_sample_of_seed_003_is_too_weak() {
        assert_eq!(missed("password123"), ["upper", "symbol", "common"]);
    }

    #[test]
    fn c9_profile_nist_asks_for_length_and_for_nothing_that_everyone_guesses() {
        for good in ["correct horse battery", "사과나무아래에서", "zqxwvkjy", "90418263"] {
            assert_eq!(missed_by(Rules::Nist, good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(missed_by(Rules::Nist, "zqxwvkj"), ["length"]);
        assert_eq!(missed_by(Rules::Nist, "password123"), ["common"]);
        assert_eq!(missed_by(Rules::Nist, "alice wonders"), ["context"]);
        assert_eq!(missed_by(Rules::Nist, &"xq".repeat(65)), ["max_length"]);
        assert_eq!(missed_by(Rules::Nist, "good\0 words"), ["nul"]);
    }

    #[test]
    fn c9_at_most_128_characters_and_no_nul() {
        assert_eq!(missed(&format!("Aa1!{}", "xq".repeat(62))), Vec::<String>::new());
        assert_eq!(missed(&format!("Aa1!{}x", "xq".repeat(62))), ["max_length"]);
        assert_eq!(missed("Good\0-Word-7!"), ["nul"]);
    }

    #[test]
    fn c9_common_words_in_any_dress_are_refused() {
        for bad in ["Password1!", "P@ssw0rd123!", "!Sunshine2024", "Welcome1!", "Iloveyou-1"] {
            assert!(missed(bad).contains(&"common".to_owned()), "{bad}");
        }
        assert!(COMMON.len() >= 10_000);
    }

    #[test]
    fn c9_nothing_of_its_owner() {
        assert_eq!(missed("Alice-Wonder-7!"), ["context"]);
        assert_eq!(missed("x-ALICE.KIM-7!y"), ["context"]);
        // "Kim" is too short a word to tell
        assert_eq!(missed("Kimono-Silk-7!"), Vec::<String>::new());
    }
}

//! What somebody says of themselves, and may change.

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::User;
use super::check::{email_address, language_tag, person_name, phone_digits, zone_name};
use crate::Reply;

/// Changes to the caller's own account, at least one. Absent means unchanged; null clears what an account may be without.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct UpdateMe {
    /// 2 to 100 characters: letters, marks, digits, spaces and `'-.·`.
    #[garde(inner(custom(person_name)))]
    #[schemars(with = "String", length(min = 2, max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E.164, for example `+821012345678`.
    #[garde(inner(inner(custom(phone_digits))))]
    #[schemars(extend("pattern" = r"^\+[1-9][0-9]{6,14}$"))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub phone: Option<Option<String>>,
    /// Kind of business, at most 50 characters.
    #[garde(inner(inner(length(chars, max = 50))))]
    #[schemars(length(max = 50))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub business_type: Option<Option<String>>,
    /// Business registration number, at most 50 characters.
    #[garde(inner(inner(length(chars, max = 50))))]
    #[schemars(length(max = 50))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub business_number: Option<Option<String>>,
    /// Industry, at most 100 characters.
    #[garde(inner(inner(length(chars, max = 100))))]
    #[schemars(length(max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub industry: Option<Option<String>>,
    /// Region, at most 100 characters.
    #[garde(inner(inner(length(chars, max = 100))))]
    #[schemars(length(max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub region: Option<Option<String>>,
    /// The language of letters and notices: `ko`, or with a country `ko-KR`.
    #[garde(inner(custom(language_tag)))]
    #[schemars(with = "String", extend("pattern" = "^[a-z]{2}(-[A-Z]{2})?$"))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// A name of the IANA time zone database, for example `Asia/Seoul`.
    #[garde(inner(custom(zone_name)))]
    #[schemars(with = "String", length(max = 64))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A field that is there, also when it is null: serde takes null for absence otherwise.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The caller's own account, in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetAccount {}

/// An account in full, as its owner sees it: version 2 of `User`, which it contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// What version 1 says.
    #[serde(flatten)]
    pub user: User,
    /// Kind of business.
    pub business_type: Option<String>,
    /// Business registration number.
    pub business_number: Option<String>,
    /// Industry.
    pub industry: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// The language of letters and notices, `xx` or `xx-YY`.
    pub locale: String,
    /// IANA time zone.
    pub time_zone: String,
    /// When the account was last changed.
    pub updated_at: DateTime<Utc>,
    /// The kinds of second factor that the account has.
    pub mfa: Vec<String>,
}

impl Reply for Account {
    fn version(&self) -> Option<i64> {
        self.user.version()
    }
}

/// Ask for another e-mail address: a code is mailed to it, and it is not changed before that comes back. Whether another
/// account has the address is not said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmail {
    /// The new address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
}

/// The code that was mailed to the new address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEmail {
    /// Six digits.
    #[garde(length(chars, max = 16))]
    #[schemars(extend("pattern" = "^[0-9]{6}$"))]
    pub code: String,
}

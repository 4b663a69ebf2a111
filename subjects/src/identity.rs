//! Identity: users, sign-in, tokens, auth sessions, roles (`spec/identity.md`).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AuthSessionId, UserId};
use crate::{Access, Reply, Role, facts, refusals, requests};

refusals! {
    /// How identity refuses (seed 001's codes, `spec/protocols.md` for the added ones).
    IdentityRefusal {
        /// Unknown e-mail or wrong password: the two are not told apart.
        InvalidCredentials = "USER_1001" 401 Unauthenticated "Invalid email or password",
        /// The account is switched off.
        AccountDisabled = "USER_1002" 401 Unauthenticated "the account is disabled",
        /// Too many wrong passwords; `Retry-After` says until when.
        AccountLocked = "USER_1003" 401 Unauthenticated "the account is locked for now",
        /// Sign-in needs a verified e-mail here.
        EmailNotVerified = "USER_1004" 401 Unauthenticated "the e-mail address is not verified",
        /// The access token has expired.
        TokenExpired = "USER_1005" 401 Unauthenticated "the token has expired",
        /// No token, or one that is not ours.
        TokenInvalid = "USER_1006" 401 Unauthenticated "the token is not valid",
        /// A consumed refresh token came again: its session is ended.
        RefreshTokenReused = "USER_1010" 401 Unauthenticated "the refresh token was used before; the session is ended",
        /// The token's session was ended.
        TokenRevoked = "USER_1011" 401 Unauthenticated "the token has been revoked",
        /// No such user.
        UserNotFound = "USER_1101" 404 NotFound "no such user",
        /// Another account has this e-mail.
        EmailAlreadyExists = "USER_1102" 409 Conflict "an account with this e-mail exists",
        /// The password misses the rules; details name each missed one.
        WeakPassword = "USER_1103" 400 Invalid "the password is too weak",
        /// Not an e-mail address.
        InvalidEmailFormat = "USER_1104" 400 Invalid "the e-mail address is not valid",
        /// Not the code that was sent.
        CodeInvalid = "USER_1106" 400 Invalid "the code is not valid",
        /// The code is too old; ask for another.
        CodeExpired = "USER_1107" 400 Invalid "the code has expired",
        /// No such session.
        SessionNotFound = "USER_1201" 404 NotFound "no such session",
        /// The session ran out.
        SessionExpired = "USER_1202" 401 Unauthenticated "the session has expired",
        /// The caller may not give this role.
        RoleNotAssignable = "USER_1303" 403 Forbidden "the role may not be assigned here",
    }
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Trimmed and, for comparison, lower-cased; at most 255 characters.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// 8 to 128 characters with an upper-case and a lower-case letter, a digit and one of `!@#$%^&*()_+-=`.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub password: String,
    /// 2 to 100 characters: letters, marks, digits, spaces and `'-.·`.
    #[garde(custom(person_name))]
    #[schemars(length(min = 2, max = 100))]
    pub name: String,
    /// E.164, for example `+821012345678`.
    #[garde(custom(phone_number))]
    #[schemars(extend("pattern" = r"^\+[1-9][0-9]{6,14}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Kind of business, at most 50 characters.
    #[garde(length(chars, max = 50))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_type: Option<String>,
    /// Business registration number, at most 50 characters.
    #[garde(length(chars, max = 50))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_number: Option<String>,
    /// Industry, at most 100 characters.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// Region, at most 100 characters.
    #[garde(length(chars, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A user, as shown to themselves and to admins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The e-mail address as it was given.
    pub email: String,
    /// The name.
    pub name: String,
    /// The phone number, E.164.
    pub phone: Option<String>,
    /// The highest role (seed 001's clients read this one).
    pub role: Role,
    /// All roles.
    pub roles: Vec<Role>,
    /// Whether the account may sign in.
    pub is_active: bool,
    /// Whether the e-mail address is verified.
    pub is_verified: bool,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// The last successful sign-in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Grows by one with each change; the `ETag`.
    pub version: i64,
}

impl Reply for User {
    fn version(&self) -> Option<i64> {
        Some(self.version)
    }
}

/// The code that was mailed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmail {
    /// The address that the code was sent to.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// Six digits.
    #[garde(length(chars, max = 16))]
    #[schemars(extend("pattern" = "^[0-9]{6}$"))]
    pub code: String,
}

/// Ask for a new verification code; answered the same whether the address is known or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ResendVerification {
    /// The address to verify.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
}

/// A sentence for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// What happened.
    pub message: String,
}

impl Reply for Message {}

/// Sign-in by password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The account's address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// The password; at most 256 bytes.
    #[garde(length(bytes, max = 256))]
    pub password: String,
}

/// An access token and the refresh token that renews it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenPair {
    /// EdDSA JWT (RFC 9068); send as `Authorization: Bearer`.
    pub access_token: String,
    /// Opaque, single use.
    pub refresh_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: u32,
}

impl Reply for TokenPair {}

/// Exchange of a refresh token for a new pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token of the last pair.
    #[garde(length(bytes, max = 512))]
    #[serde(alias = "refreshToken")]
    pub refresh_token: String,
}

/// Sign-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    /// Every session of the user instead of this one.
    #[garde(skip)]
    #[serde(default)]
    pub all: bool,
}

/// The caller's own account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetMe {}

/// The public keys that verify access tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetJwks {}

/// A JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jwks {
    /// The keys in force, newest first.
    pub keys: Vec<Jwk>,
}

impl Reply for Jwks {}

/// One Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    pub r#use: String,
    /// The key's id, as in a token's header.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

/// Is this access token good right now? The synchronous check for a role whose revocation watcher is stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CheckToken {
    /// The token's `sid`.
    #[garde(skip)]
    pub sid: AuthSessionId,
    /// The token's `sub`.
    #[garde(skip)]
    pub user: UserId,
}

/// Whether tokens of a session are good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenState {
    /// False once the session is ended or the user is disabled.
    pub active: bool,
}

impl Reply for TokenState {}

/// An account made by an admin; verified from the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The address.
    #[garde(custom(email_address))]
    #[schemars(email, length(max = 255))]
    pub email: String,
    /// The name, 2 to 100 characters.
    #[garde(custom(person_name))]
    #[schemars(length(min = 2, max = 100))]
    pub name: String,
    /// The role; `user` when absent. `service` is refused: machines get tokens, not accounts.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The password, by the same rules as at sign-up.
    #[garde(length(chars, max = 128))]
    #[schemars(extend("minLength" = 8))]
    pub password: String,
}

requests! { IdentityRefusal;
    /// Sign up with e-mail and password.
    "svc.identity.v1.auth.register" Access::Public, Unkeyed Register => User, shape { "email" => InvalidEmailFormat, "password" => WeakPassword };
    /// Verify the e-mail address with the code that was mailed.
    "svc.identity.v1.auth.verify_email" Access::Public, Unkeyed VerifyEmail => Message, shape { "email" => InvalidEmailFormat };
    /// Mail a new verification code.
    "svc.identity.v1.auth.resend" Access::Public, Unkeyed ResendVerification => Message, shape { "email" => InvalidEmailFormat };
    /// Sign in with e-mail and password.
    "svc.identity.v1.auth.login" Access::Public, Unkeyed Login => TokenPair, shape { "email" => InvalidEmailFormat };
    /// Exchange a refresh token for a new pair.
    "svc.identity.v1.auth.refresh" Access::Public, Unkeyed Refresh => TokenPair;
    /// Sign out of this session, or of all.
    "svc.identity.v1.auth.logout" Access::User, Unkeyed Logout => Message;
    /// The caller's own account.
    "svc.identity.v1.users.me_get" Access::User, Read GetMe => User;
    /// The public keys that verify access tokens (RFC 7517).
    "svc.identity.v1.token.jwks" Access::Public, Read GetJwks => Jwks;
    /// Whether an access token's session is still good.
    "svc.identity.v1.token.check" Access::Public, Read CheckToken => TokenState;
    /// Make an account.
    "svc.identity.v1.admin.user_create" Access::Roles(&[Role::Admin]), Unkeyed CreateUser => User, shape { "email" => InvalidEmailFormat, "password" => WeakPassword };
}

facts! {
    /// An account was made.
    UserCreated "evt.identity.v1.user.created" by user_id {
        /// The user.
        user_id: UserId,
        /// The role at the start.
        role: Role,
        /// When.
        created_at: DateTime<Utc>,
    }
    /// The e-mail address was verified.
    UserEmailVerified "evt.identity.v1.user.email_verified" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// A user signed in.
    UserLoggedIn "evt.identity.v1.user.logged_in" by user_id {
        /// The user.
        user_id: UserId,
        /// The new auth session.
        sid: AuthSessionId,
        /// When.
        timestamp: DateTime<Utc>,
    }
    /// A user signed out.
    UserLoggedOut "evt.identity.v1.user.logged_out" by user_id {
        /// The user.
        user_id: UserId,
        /// The session from which the sign-out came.
        sid: AuthSessionId,
    }
    /// An auth session was ended; its tokens are refused from now on.
    SessionRevoked "evt.identity.v1.session.revoked" by user_id {
        /// The user.
        user_id: UserId,
        /// The session.
        sid: AuthSessionId,
        /// `logout`, `limit` or `reuse`.
        reason: String,
    }
    /// A consumed refresh token came again: somebody holds a copy.
    SessionReuseDetected "evt.identity.v1.session.reuse_detected" by user_id {
        /// The user.
        user_id: UserId,
        /// The session that was ended for it.
        sid: AuthSessionId,
    }
}

/// One `@`, something on both sides, no control characters or spaces, at most 255 characters; surrounding spaces are
/// trimmed before storing.
fn email_address(email: &str, _: &()) -> garde::Result {
    let email = email.trim();
    let wrong = || garde::Error::new("not an e-mail address");
    let (local, domain) = email.rsplit_once('@').ok_or_else(wrong)?;
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let good = email.len() <= 255
        && !local.is_empty()
        && local.len() <= 64
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b))
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && domain.contains('.')
        && domain.split('.').all(label);
    if good { Ok(()) } else { Err(wrong()) }
}

/// Identity spec C20: names as people have them, without control or direction characters.
fn person_name(name: &str, _: &()) -> garde::Result {
    let name = name.trim();
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "'’-.·".contains(c) || is_combining_mark(c);
    if !(2..=100).contains(&name.chars().count()) {
        return Err(garde::Error::new("2 to 100 characters"));
    }
    if name.chars().all(allowed) {
        Ok(())
    } else {
        Err(garde::Error::new("letters, digits, spaces and '-.· only"))
    }
}

/// Marks that Unicode does not count as alphabetic and names are written with: decomposed accents, the viramas and
/// nuktas of the Indic blocks (at the same place in each), tone and vowel marks of Thai, Lao, Burmese and Khmer, and the
/// voiced marks of decomposed kana.
fn is_combining_mark(c: char) -> bool {
    match c {
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' => true,
        '\u{0900}'..='\u{0d7f}' => matches!(u32::from(c) & 0x7f, 0x3c | 0x4d),
        '\u{0dca}' | '\u{0e47}'..='\u{0e4e}' | '\u{0ec8}'..='\u{0ecc}' => true,
        '\u{1037}'..='\u{103a}' | '\u{17c6}'..='\u{17d3}' | '\u{3099}'..='\u{309a}' => true,
        _ => false,
    }
}

fn phone_number(phone: &Option<String>, _: &()) -> garde::Result {
    let Some(phone) = phone else { return Ok(()) };
    let digits = phone.strip_prefix('+').unwrap_or_default();
    if (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
    {
        Ok(())
    } else {
        Err(garde::Error::new("E.164, for example +821012345678"))
    }
}

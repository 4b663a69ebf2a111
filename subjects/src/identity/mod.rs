//! Identity: users, sign-in, tokens, auth sessions, roles (`spec/identity.md`).

mod account;
mod admin;
mod check;
mod second_factor;
mod sign_in;
mod token;

use chrono::{DateTime, Utc};

pub use self::account::*;
pub use self::admin::*;
pub use self::second_factor::*;
pub use self::sign_in::*;
pub use self::token::*;
use crate::id::{AuthSessionId, UserId};
use crate::{Access, Page, Permission, Role, facts, refusals, requests};

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
        /// The password is right; details hold `mfa_token` for `auth.mfa_verify` and the `kinds` of factors there are.
        MfaRequired = "USER_1007" 401 Unauthenticated "a second factor is needed",
        /// The code, the passkey or the token that asked for it is not valid, or was used before.
        MfaInvalid = "USER_1008" 401 Unauthenticated "the second factor is not valid",
        /// Too long ago that the caller proved who they are: sign in again, then repeat.
        ReauthenticationRequired = "USER_1009" 403 Forbidden "sign in again to do this",
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
        /// The password is one of the last ones.
        PasswordReused = "USER_1105" 400 Invalid "the password was used before",
        /// Not the code that was sent.
        CodeInvalid = "USER_1106" 400 Invalid "the code is not valid",
        /// The code is too old; ask for another.
        CodeExpired = "USER_1107" 400 Invalid "the code has expired",
        /// Nothing would be left to sign in with.
        LastCredential = "USER_1108" 409 Conflict "the account would have nothing to sign in with",
        /// No such passkey.
        CredentialNotFound = "USER_1109" 404 NotFound "no such credential",
        /// No such session.
        SessionNotFound = "USER_1201" 404 NotFound "no such session",
        /// The session ran out.
        SessionExpired = "USER_1202" 401 Unauthenticated "the session has expired",
        /// The account has as many sessions as it may have.
        TooManySessions = "USER_1203" 409 Conflict "too many sessions; end one first",
        /// The caller may not give this role.
        RoleNotAssignable = "USER_1303" 403 Forbidden "the role may not be assigned here",
        /// Somebody has to be admin.
        LastAdmin = "USER_1304" 409 Conflict "the last admin can't be removed",
    }
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
    /// The second half of a sign-in: a code of the authenticator app, or a recovery code.
    "svc.identity.v1.auth.mfa_verify" Access::Public, Unkeyed VerifyMfa => TokenPair;
    /// A challenge for a sign-in by passkey.
    "svc.identity.v1.auth.passkey_options" Access::Public, Unkeyed AskForPasskey => PasskeyChallenge;
    /// Sign in with a passkey.
    "svc.identity.v1.auth.passkey_verify" Access::Public, Unkeyed SignInWithPasskey => TokenPair;
    /// Prove again who the caller is: a new pair of the same session.
    "svc.identity.v1.auth.reauthenticate" Access::User, Unkeyed Reauthenticate => TokenPair;
    /// Exchange a refresh token for a new pair.
    "svc.identity.v1.auth.refresh" Access::Public, Unkeyed Refresh => TokenPair;
    /// Sign out of this session, or of all.
    "svc.identity.v1.auth.logout" Access::User, Unkeyed Logout => Message;
    /// The caller's own account.
    "svc.identity.v1.users.me_get" Access::User, Read GetMe => User;
    /// A secret for an authenticator app.
    "svc.identity.v1.mfa.totp_start" Access::User, Unkeyed StartTotp => TotpSecret;
    /// Use the authenticator app from now on.
    "svc.identity.v1.mfa.totp_confirm" Access::User, Unkeyed ConfirmTotp => Message;
    /// Do without an authenticator app.
    "svc.identity.v1.mfa.totp_remove" Access::User, Write RemoveTotp => Message;
    /// New recovery codes, shown once.
    "svc.identity.v1.mfa.recovery_codes" Access::User, Unkeyed MakeRecoveryCodes => RecoveryCodes;
    /// A challenge for a new passkey.
    "svc.identity.v1.mfa.passkey_start" Access::User, Unkeyed StartPasskey => PasskeyChallenge;
    /// Register a passkey.
    "svc.identity.v1.mfa.passkey_add" Access::User, Write AddPasskey => Passkey;
    /// The caller's passkeys.
    "svc.identity.v1.mfa.passkey_list" Access::User, Read ListPasskeys => Page<Passkey>;
    /// Do without a passkey.
    "svc.identity.v1.mfa.passkey_remove" Access::Owner, Write RemovePasskey => Message;
    /// The public keys that verify access tokens (RFC 7517).
    "svc.identity.v1.token.jwks" Access::Public, Read GetJwks => Jwks;
    /// Whether an access token's session is still good.
    "svc.identity.v1.token.check" Access::Public, Read CheckToken => TokenState;
    /// Make an account.
    "svc.identity.v1.admin.user_create" Access::May(Permission::UserCreate), Unkeyed CreateUser => User, shape { "email" => InvalidEmailFormat, "password" => WeakPassword };
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
    /// What proves that somebody owns an account was added, replaced, used up or removed.
    UserCredentialChanged "evt.identity.v1.user.credential_changed" by user_id {
        /// The user.
        user_id: UserId,
        /// `totp`, `recovery` or `passkey`.
        kind: String,
        /// `added`, `replaced`, `used` or `removed`.
        action: String,
    }
    /// An auth session was ended; its tokens are refused from now on.
    SessionRevoked "evt.identity.v1.session.revoked" by user_id {
        /// The user.
        user_id: UserId,
        /// The session.
        sid: AuthSessionId,
        /// `logout`, `limit`, `reuse`, `admin`, `password` or `erase`.
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

//! Identity: users, sign-in, tokens, auth sessions, roles (`spec/identity.md`).

mod account;
mod admin;
mod audit;
mod check;
mod federation;
mod password;
mod privacy;
mod profile;
mod second_factor;
mod session;
mod sign_in;
mod token;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use self::account::*;
pub use self::admin::*;
pub use self::audit::*;
pub use self::federation::*;
pub use self::password::*;
pub use self::privacy::*;
pub use self::profile::*;
pub use self::second_factor::*;
pub use self::session::*;
pub use self::sign_in::*;
pub use self::token::*;
use crate::id::{AuthSessionId, CredentialId, ExportId, UserId};
use crate::privacy::{ExportIdentity, PersonalData};
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
        /// The provider refused, was refused, or gave no ID token that is good; details hold `provider` and `reason`.
        FederationFailed = "USER_1012" 401 Unauthenticated "the sign-in at the provider did not succeed",
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
        /// No such passkey or identity, or no authenticator app.
        CredentialNotFound = "USER_1109" 404 NotFound "no such credential",
        /// Somebody else's account is signed in to with it.
        IdentityTaken = "USER_1110" 409 Conflict "the identity is linked to another account",
        /// No such session.
        SessionNotFound = "USER_1201" 404 NotFound "no such session",
        /// The session ran out.
        SessionExpired = "USER_1202" 401 Unauthenticated "the session has expired",
        /// The account has as many sessions as it may have.
        TooManySessions = "USER_1203" 409 Conflict "too many sessions; end one first",
        /// No such erasure.
        ErasureNotFound = "USER_1401" 404 NotFound "no such erasure",
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
    /// Where else one may sign in.
    "svc.identity.v1.auth.oidc_providers" Access::Public, Read ListProviders => Providers;
    /// Begin to sign in at an OpenID provider.
    "svc.identity.v1.auth.oidc_start" Access::Public, Unkeyed StartOidc => OidcStart;
    /// Sign in, sign up, or link an identity with an OpenID provider's answer.
    "svc.identity.v1.auth.oidc_callback" Access::Public, Unkeyed OidcCallback => OidcAnswer;
    /// Prove again who the caller is: a new pair of the same session.
    "svc.identity.v1.auth.reauthenticate" Access::User, Unkeyed Reauthenticate => TokenPair;
    /// Exchange a refresh token for a new pair.
    "svc.identity.v1.auth.refresh" Access::Public, Unkeyed Refresh => TokenPair;
    /// Sign out of this session, or of all.
    "svc.identity.v1.auth.logout" Access::User, Unkeyed Logout => Message;
    /// End a session with the link of the letter that told of a new sign-in.
    "svc.identity.v1.auth.revoke_by_link" Access::Public, Unkeyed RevokeByLink => Message, shape { "token" => CodeInvalid };
    /// Mail a link that sets a new password.
    "svc.identity.v1.auth.password_forgot" Access::Public, Unkeyed ForgotPassword => Message, shape { "email" => InvalidEmailFormat };
    /// Set a new password with the token of a mailed link; every session of the account is ended.
    "svc.identity.v1.auth.password_reset" Access::Public, Unkeyed ResetPassword => Message, shape { "new_password" => WeakPassword };
    /// Change the own password; every other session is ended.
    "svc.identity.v1.users.password_change" Access::User, Unkeyed ChangePassword => Message, shape { "new_password" => WeakPassword };
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
    /// Begin to link an account at an OpenID provider to the caller's own.
    "svc.identity.v1.identities.link" Access::User, Unkeyed LinkIdentity => OidcStart;
    /// The accounts at OpenID providers that sign in to the caller's own.
    "svc.identity.v1.identities.list" Access::User, Read ListIdentities => Page<Identity>;
    /// Do without one of them.
    "svc.identity.v1.identities.unlink" Access::Owner, Write UnlinkIdentity => Message;
    /// Change the caller's own account.
    "svc.identity.v1.users.me_update" Access::User, Write UpdateMe => User, shape { "role" => RoleNotAssignable, "roles" => RoleNotAssignable };
    /// The caller's own account, in full.
    "svc.identity.v2.users.me_get" Access::User, Read GetAccount => Account;
    /// Ask for another e-mail address; a code is mailed to it.
    "svc.identity.v1.users.email_change" Access::User, Write ChangeEmail => Message, shape { "email" => InvalidEmailFormat };
    /// Change the e-mail address to the one that the code was mailed to.
    "svc.identity.v1.users.email_confirm" Access::User, Write ConfirmEmail => User;
    /// The caller's sign-ins and sign-outs, newest first.
    "svc.identity.v1.users.login_history" Access::User, Read ListLoginHistory => Page<LoginRecord>;
    /// The caller's live sessions, newest first.
    "svc.identity.v1.sessions.list" Access::User, Read ListAuthSessions => Page<AuthSession>;
    /// End one of the caller's sessions.
    "svc.identity.v1.sessions.revoke" Access::User, Unkeyed RevokeAuthSession => Message;
    /// End all of the caller's sessions but this one.
    "svc.identity.v1.sessions.revoke_others" Access::User, Unkeyed RevokeOtherAuthSessions => Message;
    /// Begin an export of everything that every service holds about the caller (GDPR Art. 20).
    "svc.identity.v1.privacy.export_begin" Access::User, Unkeyed BeginExport => Export;
    /// What identity holds about the caller.
    "svc.identity.v1.privacy.export" Access::User, Read ExportIdentity => PersonalData;
    /// Be forgotten, in every service (GDPR Art. 17).
    "svc.identity.v1.privacy.erase" Access::User, Unkeyed EraseMe => Erasure;
    /// How far an erasure is.
    "svc.identity.v1.privacy.erasure_get" Access::May(Permission::UserDelete), Read GetErasure => Erasure;
    /// The public keys that verify access tokens (RFC 7517).
    "svc.identity.v1.token.jwks" Access::Public, Read GetJwks => Jwks;
    /// Whether an access token's session is still good.
    "svc.identity.v1.token.check" Access::Public, Read CheckToken => TokenState;
    /// What a token is good for (RFC 7662).
    "svc.identity.v1.token.introspect" Access::Roles(&[Role::Admin, Role::Service]), Read IntrospectToken => Introspection;
    /// End a token and its session (RFC 7009).
    "svc.identity.v1.token.revoke" Access::Public, Unkeyed RevokeToken => Message;
    /// The caller in OpenID Connect's standard claims.
    "svc.identity.v1.token.userinfo" Access::User, Read GetUserinfo => Userinfo;
    /// Make an account.
    "svc.identity.v1.admin.user_create" Access::May(Permission::UserCreate), Unkeyed CreateUser => User, shape { "email" => InvalidEmailFormat, "password" => WeakPassword };
    /// From where the acts of identity's audit entries were done.
    "svc.identity.v1.audit.private" Access::May(Permission::AuditRead), Read GetAuditPrivate => AuditPrivate;
    /// Accounts, newest first; without e-mail, name and phone for who may not change accounts.
    "svc.identity.v1.users.list" Access::May(Permission::UserRead), Read ListUsers => Page<ListedUser>;
    /// One account, in full.
    "svc.identity.v1.users.get" Access::May(Permission::UserUpdate), Read GetUser => Account;
    /// Change what somebody's account says of them.
    "svc.identity.v1.users.update" Access::May(Permission::UserUpdate), Write UpdateUser => Account;
    /// Delete an account.
    "svc.identity.v1.users.delete" Access::May(Permission::UserDelete), Unkeyed DeleteUser => Message;
    /// Give somebody other roles; their access tokens are void from then on.
    "svc.identity.v1.users.set_role" Access::May(Permission::UserUpdateRole), Unkeyed SetRole => User;
    /// Switch an account off.
    "svc.identity.v1.admin.user_disable" Access::May(Permission::UserUpdate), Unkeyed DisableUser => User;
    /// Switch an account on again.
    "svc.identity.v1.admin.user_enable" Access::May(Permission::UserUpdate), Write EnableUser => User;
    /// Lift the locks that wrong passwords and wrong codes put on an account.
    "svc.identity.v1.admin.user_unlock" Access::May(Permission::UserUpdate), Write UnlockUser => User;
    /// Mail somebody a link with which they set another password, or their first.
    "svc.identity.v1.admin.password_reset" Access::May(Permission::UserUpdate), Write SendPasswordReset => Message;
    /// Somebody's live sessions, newest first.
    "svc.identity.v1.admin.sessions_list" Access::May(Permission::UserUpdate), Read ListUserSessions => Page<AuthSession>;
    /// End all of somebody's sessions.
    "svc.identity.v1.admin.sessions_revoke" Access::May(Permission::UserUpdate), Unkeyed RevokeUserSessions => Message;
    /// End the sessions of all users.
    "svc.identity.v1.admin.sessions_revoke_all" Access::May(Permission::UserUpdate), Write RevokeAllSessions => RevokedSessions;
    /// Begin to change the key that signs access tokens.
    "svc.identity.v1.admin.keys_rotate" Access::May(Permission::KeysRotate), Unkeyed RotateKeys => RotatedKey;
}

facts! {
    /// An account was made. This fact, `user.updated` and `user.logged_in` carry what seed 001's followers read of a person;
    /// no other fact does, and erasing the person deletes them.
    UserCreated "evt.identity.v1.user.created" by user_id {
        /// The user.
        user_id: UserId,
        /// The e-mail address as it was given.
        email: String,
        /// The name.
        name: String,
        /// The role at the start.
        role: Role,
        /// When.
        created_at: DateTime<Utc>,
    }
    /// What an account says of its user was changed.
    UserUpdated "evt.identity.v1.user.updated" by user_id {
        /// The user.
        user_id: UserId,
        /// The e-mail address.
        email: String,
        /// The name as it is now.
        name: String,
        /// The names of the fields that differ now. What else they say is read with `users.me_get`: no fact carries it.
        updated_fields: Vec<String>,
        /// When.
        updated_at: DateTime<Utc>,
    }
    /// An account has another e-mail address, which is verified.
    UserEmailChanged "evt.identity.v1.user.email_changed" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// The e-mail address was verified.
    UserEmailVerified "evt.identity.v1.user.email_verified" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// Staff gave a user other roles.
    UserRoleChanged "evt.identity.v1.user.role_changed" by user_id {
        /// The user.
        user_id: UserId,
        /// The roles until now.
        old: Vec<Role>,
        /// The roles from now on.
        new: Vec<Role>,
    }
    /// An account was switched off; its sessions are ended.
    UserDisabled "evt.identity.v1.user.disabled" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// An account was switched on again.
    UserEnabled "evt.identity.v1.user.enabled" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// Staff lifted the locks that wrong passwords and wrong codes put on an account.
    UserUnlocked "evt.identity.v1.user.unlocked" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// An account was deleted: forget what you know of this user.
    UserDeleted "evt.identity.v1.user.deleted" by user_id {
        /// The user.
        user_id: UserId,
        /// The made-up address that stands in place of the real one (seed 001's followers read it).
        email: String,
        /// When.
        deleted_at: DateTime<Utc>,
    }
    /// Somebody's data may be read as an export from now on.
    UserExportReady "evt.identity.v1.user.export_ready" by user_id {
        /// The user.
        user_id: UserId,
        /// The export.
        export_id: ExportId,
        /// When it was asked for.
        begun_at: DateTime<Utc>,
    }
    /// There is a new key that is to sign access tokens.
    KeysRotated "evt.identity.v1.keys.rotated" by kid {
        /// The new key's id.
        kid: uuid::Uuid,
        /// It signs from then on.
        signs_from: DateTime<Utc>,
    }
    /// A user signed in.
    UserLoggedIn "evt.identity.v1.user.logged_in" by user_id {
        /// The user.
        user_id: UserId,
        /// The e-mail address.
        email: String,
        /// The new auth session.
        sid: AuthSessionId,
        /// How the user proved who they are (RFC 8176).
        amr: Vec<String>,
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
    /// A link that sets a new password was mailed.
    UserPasswordResetRequested "evt.identity.v1.user.password_reset_requested" by user_id {
        /// The user.
        user_id: UserId,
    }
    /// The password was changed.
    UserPasswordChanged "evt.identity.v1.user.password_changed" by user_id {
        /// The user.
        user_id: UserId,
        /// `user`: by its owner, who knew the old one; `reset`: by who reads the account's mail.
        by: String,
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
    /// An account at an OpenID provider signs in to this account from now on.
    IdentityLinked "evt.identity.v1.identity.linked" by user_id {
        /// The user.
        user_id: UserId,
        /// The identity.
        id: CredentialId,
        /// The provider, as the configuration calls it.
        provider: String,
    }
    /// An account at an OpenID provider signs in to this account no longer.
    IdentityUnlinked "evt.identity.v1.identity.unlinked" by user_id {
        /// The user.
        user_id: UserId,
        /// The identity.
        id: CredentialId,
        /// The provider, as the configuration called it.
        provider: String,
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
    /// A sign-in was refused: a wrong password or code, an address that nobody has, or an account that may not sign in. While an
    /// account or an address has no tries left, nothing more is announced.
    UserLoginFailed "evt.identity.v1.user.login_failed" by about {
        /// The user, or for an address that nobody has a keyed hash of it.
        about: Uuid,
        /// The user; none for an address that nobody has.
        user_id: Option<UserId>,
        /// `invalid_password`, `user_not_found`, `invalid_code`, `account_disabled` or `email_not_verified`.
        reason: String,
        /// Keyed hash of the client's network (IPv4 /24, IPv6 /64), 16 hexadecimal digits; none for a sign-in that began on the bus.
        ip_prefix_hash: Option<String>,
    }
    /// An account takes no passwords for a while: too many wrong ones. Known devices may still try.
    UserLocked "evt.identity.v1.user.locked" by user_id {
        /// The user.
        user_id: UserId,
        /// Until when.
        until: DateTime<Utc>,
    }
    /// Something that a person should look at.
    SecuritySuspicious "evt.identity.v1.security.suspicious" by about {
        /// The user, or for an address as a whole a keyed hash of it.
        about: Uuid,
        /// The user; none when it is about an address as a whole.
        user_id: Option<UserId>,
        /// `lockout`, `credential_stuffing`, `new_device`, `refresh_reuse` or `copied_passkey`.
        activity_type: String,
        /// The event of OpenID CAEP 1.0 that comes nearest: `risk-level-change`, `session-established` or
        /// `session-revoked`.
        caep_type: String,
        /// Keyed hash of the client's network (IPv4 /24, IPv6 /64), 16 hexadecimal digits; none where it is not known.
        ip_prefix_hash: Option<String>,
    }
}

//! Content: uploads and the assets they become (`spec/learning.md`). Bytes never cross the bus: the gateway writes them
//! to the object store and tells this service how far it came (architecture §13).

use chrono::{DateTime, Utc};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AssetId, UploadId, UserId};
use crate::privacy::{ExportContent, PersonalData};
use crate::{Access, Reply, Role, facts, refusals, requests};

refusals! {
    /// How content refuses (`spec/learning.md`, codes; tus 1.0.0).
    ContentRefusal {
        /// `Tus-Resumable` is missing or another version.
        TusVersion = "CONTENT_2201" 412 Precondition "the tus version is not supported",
        /// The offset is not where the upload stands; details name it.
        OffsetConflict = "CONTENT_2202" 409 Conflict "the offset is not where the upload stands",
        /// Longer than an upload may be.
        TooLarge = "CONTENT_2203" 413 Invalid "the upload is too large",
        /// A PATCH must be application/offset+octet-stream.
        MediaType = "CONTENT_2204" 415 Invalid "the content type of an upload chunk is application/offset+octet-stream",
        /// No such upload, or someone else's.
        UploadNotFound = "CONTENT_2206" 404 NotFound "no such upload",
        /// The upload was not finished in time.
        UploadExpired = "CONTENT_2207" 410 NotFound "the upload has expired",
        /// Files of this type are not taken.
        TypeNotAllowed = "CONTENT_2210" 415 Invalid "files of this type are not taken",
        /// The bytes are not what the name says.
        TypeMismatch = "CONTENT_2211" 415 Invalid "the content does not match the file's type",
        /// The file name can't be used.
        NameInvalid = "CONTENT_2212" 400 Invalid "the file name is not valid",
        /// The media URL is wrong, expired or revoked; which one is not told.
        UrlDenied = "CONTENT_2220" 403 Forbidden "the media URL is not valid",
        /// The range lies beyond the file's end; answered with 416 on media routes (RFC 9110 §15.5.17).
        RangeInvalid = "PLAY_2351" 400 Invalid "the range is not valid",
        /// No such file.
        AssetNotFound = "CONTENT_2221" 404 NotFound "no such file",
    }
}

/// Longest upload, bytes: 8 GiB.
pub const UPLOAD_MAX_BYTES: i64 = 8 << 30;

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text", rename_all = "snake_case"))]
pub enum UploadState {
    /// Bytes are still missing.
    Open,
    /// Complete; `asset_id` is set.
    Complete,
}

/// Start an upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CreateUpload {
    /// The file's length in bytes, 1 to 8 GiB. More is no bad shape but refused by the handler: CONTENT_2203.
    #[garde(range(min = 1))]
    #[schemars(extend("maximum" = UPLOAD_MAX_BYTES))]
    pub length: i64,
    /// The file's name with its extension, for example `lesson-1.mp4`.
    #[garde(length(chars, min = 1, max = 255))]
    pub file_name: String,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// The upload's id.
    pub id: UploadId,
    /// Who uploads.
    pub owner: UserId,
    /// The cleaned file name.
    pub file_name: String,
    /// The media type by the name's extension.
    pub mime: String,
    /// Where the whole file will stand in the object store: `media/<upload>/<file name>`; the asset keeps the upload's id.
    pub path: String,
    /// All bytes.
    pub length: i64,
    /// Bytes stored so far.
    pub offset: i64,
    /// Where it stands.
    pub state: UploadState,
    /// The asset it became.
    pub asset_id: Option<AssetId>,
    /// When an unfinished upload is given up.
    pub expires_at: DateTime<Utc>,
}

impl Reply for Upload {}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetUpload {
    /// The upload.
    #[garde(skip)]
    pub id: UploadId,
}

/// The gateway stored a chunk: move the offset on, if it still stands where the chunk began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AdvanceUpload {
    /// The upload.
    #[garde(skip)]
    pub id: UploadId,
    /// Where the chunk began.
    #[garde(range(min = 0))]
    pub from: i64,
    /// Bytes in the chunk; 0 at the end of a whole upload asks for its parts again.
    #[garde(range(min = 0))]
    pub bytes: i64,
    /// The part's name in the object store, unique for this attempt.
    #[garde(length(chars, min = 1, max = 100))]
    pub part: String,
}

/// An upload after a chunk, with the parts to join when it is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdvancedUpload {
    /// The upload now.
    pub upload: Upload,
    /// When all bytes are there: the parts, in order, to be joined by the gateway; empty before.
    pub parts: Vec<String>,
}

impl Reply for AdvancedUpload {}

/// The gateway joined the parts: the upload becomes an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct CompleteUpload {
    /// The upload.
    #[garde(skip)]
    pub id: UploadId,
    /// SHA-256 of the whole file, 64 lower-case hexadecimal digits.
    #[garde(length(bytes, min = 64, max = 64), custom(lower_hex))]
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// Bytes in the joined file.
    #[garde(range(min = 1))]
    pub size: i64,
    /// The media type that the first bytes show, for example `video/mp4`.
    #[garde(length(bytes, min = 3, max = 100))]
    pub sniffed: String,
}

/// A complete file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// The asset's id.
    pub id: AssetId,
    /// Who uploaded it.
    pub owner: UserId,
    /// The file name.
    pub file_name: String,
    /// The media type.
    pub mime: String,
    /// Bytes.
    pub size: i64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Its path in the object store: `media/<asset>/<file name>`.
    pub path: String,
    /// When it was complete.
    pub created_at: DateTime<Utc>,
}

impl Reply for Asset {}

/// One asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GetAsset {
    /// The asset.
    #[garde(skip)]
    pub id: AssetId,
}

/// Operators and admins; instructors of a course follow with course-scoped uploads.
const UPLOADERS: Access = Access::Roles(&[Role::Operator, Role::Admin]);

requests! { ContentRefusal;
    /// Start a resumable upload (tus 1.0.0 creation).
    "svc.content.v1.uploads.create" UPLOADERS, Write CreateUpload => Upload, shape { "file_name" => NameInvalid };
    /// Where an upload stands.
    "svc.content.v1.uploads.get" Access::Owner, Read GetUpload => Upload;
    /// Move an upload's offset on after a stored chunk.
    "svc.content.v1.uploads.advance" Access::Owner, Unkeyed AdvanceUpload => AdvancedUpload;
    /// Turn a whole upload into an asset.
    "svc.content.v1.uploads.complete" Access::Owner, Unkeyed CompleteUpload => Asset;
    /// One asset.
    "svc.content.v1.assets.get" Access::User, Read GetAsset => Asset;
    /// What content holds about the caller (GDPR Art. 20).
    "svc.content.v1.privacy.export" Access::User, Read ExportContent => PersonalData;
}

facts! {
    /// Everything of a user was erased here.
    ContentErased "evt.content.v1.privacy.erased" by user_id {
        /// The user.
        user_id: UserId,
        /// The erasure that it belongs to.
        job_id: uuid::Uuid,
        /// What was erased: table or kind of thing, and how many.
        erased: crate::privacy::Erased,
    }
    /// A file was uploaded, whole and checked.
    UploadCompleted "evt.content.v1.upload.completed" by asset_id {
        /// The asset it became.
        asset_id: AssetId,
        /// Its media type.
        mime: String,
        /// Bytes.
        size: i64,
        /// Its path in the object store.
        path: String,
    }
}

fn lower_hex(text: &str, _: &()) -> garde::Result {
    if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(garde::Error::new("lower-case hexadecimal digits only"))
    }
}

//! JSON-RPC 2.0, one object a line.
//!
//! The envelope is flat on purpose: serde's `flatten` and `untagged` do not go together with
//! `RawValue`, and parameters stay unparsed until their method is known.

use crate::error::excerpt;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

mod read;

pub use read::Unreadable;

/// Method name of the notification that cancels a call: `{"id": <call>}`.
pub const CANCEL: &str = "$/cancelRequest";

/// Longest text, in bytes, that may be the id of a call: it comes back with each progress.
pub const MAX_ID_BYTES: usize = 256;

/// Id of a call, chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// In the answer to a line whose id could not be read.
    Null,
}

/// The constant `"2.0"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V2;

impl Serialize for V2 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("2.0")
    }
}

impl<'de> Deserialize<'de> for V2 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "2.0" => Ok(Self),
            other => Err(D::Error::custom(format!("jsonrpc is `{}`, not `2.0`", excerpt(other)))),
        }
    }
}

/// Any message, either way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// `"2.0"`.
    pub jsonrpc: V2,
    /// Present on calls and answers, absent on notifications; null on the answer to an unreadable line.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub id: Option<RequestId>,
    /// Present on calls and notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of a call or notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// Of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcError>,
}

/// The error of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// JSON-RPC code; see [`crate::ErrorKind`].
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// More; absent on errors of the envelope itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<crate::ErrorData>>,
}

/// Parameters of [`CANCEL`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelParams {
    /// The call to cancel.
    pub id: RequestId,
}

/// An id that stands there is an id, null too; without this null would read as "absent".
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RequestId>, D::Error> {
    RequestId::deserialize(deserializer).map(Some)
}

impl Message {
    fn empty() -> Self {
        Self { jsonrpc: V2, id: None, method: None, params: None, result: None, error: None }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// When the parameters cannot be written as JSON.
    pub fn request(id: RequestId, method: &str, params: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self { id: Some(id), ..Self::notification(method, params)? })
    }

    /// Makes a notification.
    ///
    /// # Errors
    /// When the parameters cannot be written as JSON.
    pub fn notification(method: &str, params: &impl Serialize) -> serde_json::Result<Self> {
        let params = Some(serde_json::value::to_raw_value(params)?);
        Ok(Self { method: Some(method.to_owned()), params, ..Self::empty() })
    }

    /// Makes an answer that carries a result.
    pub fn success(id: RequestId, result: Box<RawValue>) -> Self {
        Self { id: Some(id), result: Some(result), ..Self::empty() }
    }

    /// Makes an answer that carries an error; `id` is none when the call could not be read.
    pub fn failure(id: Option<RequestId>, error: RpcError) -> Self {
        Self { id: Some(id.unwrap_or(RequestId::Null)), error: Some(error), ..Self::empty() }
    }
}

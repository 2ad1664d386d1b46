//! The progress socket: JSON messages, and binary previews that are skipped.

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long opening may take: ComfyUI is on this machine, but its event loop may be busy.
const OPEN: Duration = Duration::from_secs(5);

/// Something that ComfyUI tells about a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// These nodes need not run: their results are known.
    Cached {
        /// Of which prompt.
        prompt_id: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// A node begins; none means that the prompt has ended and its history is written.
    Executing {
        /// Of which prompt.
        prompt_id: String,
        /// The node.
        node: Option<String>,
    },
    /// A node counts its steps.
    Progress {
        /// Of which prompt.
        prompt_id: String,
        /// The node.
        node: String,
        /// Steps done.
        value: f64,
        /// Steps in all.
        max: f64,
    },
    /// An output was blocked by a node: it is missing although the prompt succeeds.
    Blocked {
        /// Of which prompt.
        prompt_id: String,
        /// The node.
        node: String,
        /// Why.
        message: String,
    },
}

/// An open progress socket.
#[derive(Debug)]
pub struct Events {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Events {
    pub(super) async fn open(url: &str) -> Result<Self, tungstenite::Error> {
        let open = async {
            let (mut stream, _) = connect_async(url).await?;
            // The first message says that ComfyUI knows the client by now (its `websocket_handler`): what it
            // tells a client that it does not know yet is lost.
            stream.next().await.ok_or(tungstenite::Error::ConnectionClosed)??;
            Ok(Self { stream })
        };
        let timed_out = |_| tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(OPEN, open).await.map_err(timed_out)?
    }

    /// Waits for the next event; none when the socket is lost. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.stream.next().await?.ok()? {
                Message::Text(text) => {
                    if let Some(event) = Event::parse(&text) {
                        return Some(event);
                    }
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}

impl Event {
    /// Reads a message; none for those that nobody here needs.
    fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "type")]
            kind: String,
            data: Value,
        }
        let Body { kind, data } = super::json::parse(text).ok()?;
        let string = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
        let prompt_id = string("prompt_id")?;
        match kind.as_str() {
            "execution_cached" => {
                let nodes = data.get("nodes")?.as_array()?.iter();
                let nodes = nodes.filter_map(|node| node.as_str().map(str::to_owned)).collect();
                Some(Self::Cached { prompt_id, nodes })
            }
            "executing" => Some(Self::Executing { prompt_id, node: string("node") }),
            "progress" => Some(Self::Progress {
                prompt_id,
                node: string("node")?,
                value: data.get("value")?.as_f64()?,
                max: data.get("max")?.as_f64()?,
            }),
            // Told on the socket only: the history of such a prompt shows a success.
            "execution_error" if string("exception_type")? == "ExecutionBlocked" => Some(Self::Blocked {
                prompt_id,
                node: string("node_id")?,
                message: string("exception_message")?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_strange_ones_skipped() {
        let end = r#"{"type":"executing","data":{"node":null,"prompt_id":"p"}}"#;
        assert_eq!(Event::parse(end), Some(Event::Executing { prompt_id: "p".into(), node: None }));
        let step = r#"{"type":"progress","data":{"value":2,"max":20,"prompt_id":"p","node":"3"}}"#;
        assert!(matches!(Event::parse(step), Some(Event::Progress { value: 2.0, max: 20.0, .. })));
        let blocked = r#"{"type":"execution_error","data":{"prompt_id":"p","node_id":"9",
            "exception_type":"ExecutionBlocked","exception_message":"Execution Blocked: no face"}}"#;
        assert!(matches!(Event::parse(blocked), Some(Event::Blocked { .. })));
        for other in
            ["", "[]", r#"{"type":"status","data":{}}"#, r#"{"type":"progress","data":{"prompt_id":"p"}}"#]
        {
            assert_eq!(Event::parse(other), None, "{other}");
        }
    }
}

//! Asks the daemon's own socket for what a client asks first.

use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::traits::tokio::Stream as _;
use interprocess::local_socket::{GenericFilePath, ToFsName as _};
use proto::PROTOCOL;
use proto::method::{Hello, Method as _};
use proto::rpc::{Message, RequestId};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Returns whether a client gets an answer. It takes a client's way: through the socket, the listener, the tasks of
/// a connection and the answer to `hello`. Waits for as long as a client would. Cancel-safe.
///
/// A socket without a file is no failure of the daemon: it makes it anew, or it is systemd's to make.
pub async fn answers(socket: &Path) -> bool {
    match greet(socket).await {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Returns how many bytes of the answer came: a refusal for lack of room is an answer too.
async fn greet(socket: &Path) -> io::Result<usize> {
    let mut stream = Stream::connect(socket.to_fs_name::<GenericFilePath>()?).await?;
    let hello = Hello {
        protocol: PROTOCOL,
        features: Vec::new(),
        client: "comfyd itself".to_owned(),
        environment: BTreeMap::new(),
    };
    let line = serde_json::to_string(&Message::request(RequestId::Number(1), Hello::NAME, &hello)?)?;
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.read(&mut [0]).await
}

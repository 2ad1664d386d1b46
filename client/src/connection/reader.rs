//! The reading half: lines of the socket become messages in a channel.

use interprocess::local_socket::Stream;
use proto::rpc::Message;
use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::mpsc::SyncSender;

/// Longest line that is read. A lock with thousands of packages is a few MiB.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Reads lines until the daemon closes, the line makes no sense, or nobody listens.
pub(super) fn read_lines(stream: &Stream, lines: &SyncSender<io::Result<Message>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let read = read_message(&mut reader);
        let last = read.is_err();
        let Some(read) = read.transpose() else { return };
        if lines.send(read).is_err() || last {
            return;
        }
    }
}

fn read_message(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut line = Vec::new();
    match reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
        Err(error) if !hung_up(&error) => return Err(error),
        // A line that was cut off is no message: the daemon died while it wrote.
        Err(_) | Ok(0) => return Ok(None),
        Ok(_) if line.ends_with(b"\n") => {}
        Ok(_) if line.len() as u64 == MAX_LINE_BYTES => {
            let text = format!("a line of the daemon is longer than {MAX_LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(_) => return Ok(None),
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))
}

/// Returns whether an error only says that the other side is gone.
pub(super) fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Message>> {
        read_message(&mut &bytes[..])
    }

    #[test]
    fn a_line_is_a_message_and_the_end_is_none() {
        let message = read(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
        assert!(message.is_ok_and(|m| m.is_some_and(|m| m.result.is_some())));
        assert!(read(b"").is_ok_and(|m| m.is_none()));
    }

    #[test]
    fn a_line_that_was_cut_off_is_the_end() {
        assert!(read(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu").is_ok_and(|m| m.is_none()));
    }

    #[test]
    fn a_line_of_another_protocol_is_an_error() {
        assert!(read(b"HTTP/1.1 400 Bad Request\r\n").is_err());
    }
}

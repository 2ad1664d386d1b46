//! Requests as they lie on the wire.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Sends one request on a connection of its own; returns head and body of what comes until it ends.
pub fn get(url: &str, headers: &str) -> (String, Vec<u8>) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

/// Returns the status that a request is answered with.
pub fn status(url: &str, headers: &str) -> u16 {
    get(url, headers).0.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Returns a header of a head.
pub fn header(head: &str, name: &str) -> Option<String> {
    let pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.filter(|(own, _)| *own == name).map(|(_, value)| value.to_owned()).next()
}

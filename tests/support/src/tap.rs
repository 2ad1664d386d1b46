//! A listener on a line: passes on what goes through a Unix socket, both ways, and keeps it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What went through, of all connections together.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Listens at one path and passes on to another. Who comes while nobody listens there is hung up on.
    ///
    /// # Panics
    /// When the first path cannot be bound.
    pub fn between(from: &Path, to: &Path) -> Self {
        let (tap, to) = (Self::default(), to.to_owned());
        let listener = UnixListener::bind(from).unwrap();
        let ours = tap.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&to) else { continue };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                ours.pass(client, server);
                ours.pass(back.0, back.1);
            }
        });
        tap
    }

    fn pass(&self, mut from: UnixStream, mut to: UnixStream) {
        let heard = Arc::clone(&self.heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                heard.lock().unwrap().extend_from_slice(&buffer[..count]);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            to.shutdown(Shutdown::Write).ok();
        });
    }

    /// Returns all that was heard.
    ///
    /// # Panics
    /// When a listener panicked.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

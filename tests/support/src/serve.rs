//! A web server on a thread and a runtime of its own, so that any test can use it.

use crate::tls::{Authority, TlsListener};
use axum::Router;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Serves until it is dropped. Requests in flight are cut off then.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn serve(router: Router) -> Serving {
    start(router, None)
}

/// Serves over TLS, with a certificate of `authority` for this machine.
pub(crate) fn serve_tls(router: Router, authority: &Authority) -> Serving {
    start(router, Some(authority.acceptor()))
}

fn start(router: Router, tls: Option<TlsAcceptor>) -> Serving {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be set to non-blocking");
    let address = listener.local_addr().expect("a bound socket has an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let serving = async {
                match tls {
                    Some(acceptor) => axum::serve(TlsListener { listener, acceptor }, router).await,
                    None => axum::serve(listener, router).await,
                }
            };
            tokio::select! {
                served = serving => served.expect("the server runs"),
                _ = stopped => {}
            }
        });
        // A stalled answer must not hold the test up.
        runtime.shutdown_background();
    });
    Serving { address, stop: Some(stop), thread: Some(thread) }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; a second one here would hide the test's own.
            thread.join().ok();
        }
    }
}

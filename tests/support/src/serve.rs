//! A web server on a thread and a runtime of its own, so that any test can use it.

use crate::file_server::Line;
use crate::tls::{Authority, TlsListener};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::http::Response;
use axum::serve::IncomingStream;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Serves until it is dropped. Requests in flight are cut off then.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves on a free port. Handlers may ask for a [`Connection`].
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
            let listener = TcpListener::from_std(listener).expect("a listener");
            let serving = async {
                if let Some(acceptor) = tls {
                    return axum::serve(TlsListener { listener, acceptor }, router).await;
                }
                let router = router.into_make_service_with_connect_info::<Connection>();
                axum::serve(listener, router).await
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

/// Makes an answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(body.into()).expect("status and headers are valid")
}

/// One TCP connection, whatever number of requests comes over it.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    port: u16,
    line: Line,
    counted: OnceLock<Counted>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let port = stream.io().local_addr().map_or(0, |address| address.port());
        Self(Arc::new(State { port, line: Line::default(), counted: OnceLock::new() }))
    }
}

impl Connection {
    /// Returns the server as another host than `127.0.0.1`.
    pub(crate) fn other_name(&self) -> String {
        format!("localhost:{}", self.0.port)
    }

    /// Returns the line that its answers share.
    pub(crate) fn line(&self) -> &Line {
        &self.0.line
    }

    /// Counts it among those that are open, until it is closed. Returns whether this is its first request.
    pub(crate) fn opens(&self, counts: &Arc<Connections>) -> bool {
        let mut first = false;
        self.0.counted.get_or_init(|| {
            first = true;
            Counted::new(counts.clone())
        });
        first
    }
}

/// How many connections a host has.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    peak: AtomicUsize,
    all: AtomicUsize,
}

impl Connections {
    /// Returns the most that were open at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    /// Returns how many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Returns how many were ever opened.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Counted(Arc<Connections>);

impl Counted {
    fn new(counts: Arc<Connections>) -> Self {
        counts.all.fetch_add(1, Ordering::SeqCst);
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.peak.fetch_max(open, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

//! Tests of the daemon's rooms, with real processes and sockets.

mod fixture;
mod run;
mod supervise;

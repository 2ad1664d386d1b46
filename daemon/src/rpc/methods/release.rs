//! `release`: ends a claim of the connection.

use crate::rpc::leases::Leases;
use proto::method::{Release, ReleaseAnswer};

pub(super) fn release(leases: &Leases, params: &Release) -> ReleaseAnswer {
    ReleaseAnswer { released: leases.release(&params.lease) }
}

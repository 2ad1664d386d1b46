pub const USER_AGENT: &str = concat!("comfyd/", env!("CARGO_PKG_VERSION"));
pub fn install_tls() { rustls::crypto::ring::default_provider().install_default().ok(); }

//! The one TLS implementation of the process.

/// Makes *ring* the process's TLS provider. Libraries that bring their own choice would otherwise disagree at the
/// first connection. A second call changes nothing.
pub fn install_provider() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! The public authorities, as browsers trust them: part of the binary, because an image of one binary has no file
//! of them. krafka brings the same set for its own connections.

use pem::{EncodeConfig, LineEnding, Pem};
use std::sync::LazyLock;

/// All of them in PEM.
pub fn pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| {
        let certificates: Vec<Pem> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|certificate| Pem::new("CERTIFICATE", certificate.to_vec()))
            .collect();
        pem::encode_many_config(&certificates, EncodeConfig::new().set_line_ending(LineEnding::LF))
    });
    &PEM
}

#[cfg(test)]
mod tests {
    use crate::certificates;
    use rustls::RootCertStore;

    /// A client would panic at its first connection over one that cannot be.
    #[test]
    fn the_text_holds_every_authority_and_each_can_be_trusted() {
        let read = certificates::read(super::pem()).unwrap();
        assert_eq!(read, webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        let mut store = RootCertStore::empty();
        for certificate in read {
            store.add(certificate).unwrap();
        }
    }
}

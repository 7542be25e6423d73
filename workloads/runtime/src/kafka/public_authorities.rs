//! The public authorities, as browsers trust them: part of the binary, because an image of one binary has no file
//! of them. krafka brings the same set for its own connections.

use pem::{EncodeConfig, LineEnding, Pem};
use std::sync::LazyLock;

/// All of them in PEM.
pub(super) fn pem() -> &'static str {
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
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    #[test]
    fn the_text_holds_every_authority() {
        let read: Result<Vec<CertificateDer<'_>>, _> =
            CertificateDer::pem_slice_iter(super::pem().as_bytes()).collect();
        assert_eq!(read.unwrap(), webpki_root_certs::TLS_SERVER_ROOT_CERTS);
    }
}

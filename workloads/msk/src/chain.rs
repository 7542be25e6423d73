//! Where credentials are looked for: the environment, a profile, a token of the ServiceAccount (IRSA), EKS Pod
//! Identity, and the node.

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use pem::Pem;

/// AWS's own chain. STS is asked in `region`. Nothing where the chain has no way to any credentials.
pub(crate) async fn provider(region: &str) -> Option<SharedCredentialsProvider> {
    let trust = TrustStore::empty().with_pem_certificate(public_authorities());
    let tls = TlsContext::builder().with_trust_store(trust).build().ok()?;
    // The one TLS implementation of the process.
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .http_client(client.tls_context(tls).build_https())
        .load()
        .await;
    config.credentials_provider()
}

/// An image of one binary has no certificates of its own for the client to find.
fn public_authorities() -> String {
    let authorities = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let authorities: Vec<Pem> = authorities
        .map(|certificate| Pem::new("CERTIFICATE", certificate.to_vec()))
        .collect();
    pem::encode_many(&authorities)
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    /// The HTTP client would panic at its first connection.
    #[test]
    fn every_authority_can_be_trusted() {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(super::public_authorities().as_bytes()) {
            store.add(certificate.unwrap()).unwrap();
        }
        assert_eq!(store.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    }
}

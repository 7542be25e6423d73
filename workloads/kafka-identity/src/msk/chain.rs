//! Where credentials are looked for: the environment, a profile, a token of the ServiceAccount (IRSA), EKS Pod
//! Identity, and the node.

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use crate::public_authorities;

/// AWS's own chain. STS is asked in `region`. Nothing where the chain has no way to any credentials.
pub(crate) async fn provider(region: &str) -> Option<SharedCredentialsProvider> {
    let trust = TrustStore::empty().with_pem_certificate(public_authorities::pem());
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

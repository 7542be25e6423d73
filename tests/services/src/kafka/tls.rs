//! Listeners with TLS, and the certificates of everybody who meets there.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use crate::Certificate;

/// What an installation decides about TLS.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// In the order of the brokers.
    pub(crate) listeners: Vec<Listeners>,
    /// Certificate of the authority that signs the others, in PEM.
    pub(crate) authority: String,
    pub(crate) brokers: Certificate,
    pub(crate) client: Certificate,
}

/// Where one broker listens with TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listeners {
    /// SASL_SSL with SCRAM-SHA-512.
    pub(crate) scram: SocketAddr,
    /// SSL with a client certificate.
    pub(crate) mutual: SocketAddr,
}

impl Tls {
    /// Makes certificates for brokers on `address`. They hold no host name: whoever uses one must be refused.
    pub(crate) fn create(address: IpAddr, listeners: Vec<Listeners>) -> Result<Self> {
        let (authority, issuer) = authority()?;
        Ok(Self {
            listeners,
            authority,
            brokers: issue("broker", &[address], ExtendedKeyUsagePurpose::ServerAuth, &issuer)?,
            client: issue("client", &[], ExtendedKeyUsagePurpose::ClientAuth, &issuer)?,
        })
    }
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = named("syncpipeline services");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("make the authority's key")?;
    let certificate = params.self_signed(&key).context("make the authority")?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

fn issue(
    name: &str,
    addresses: &[IpAddr],
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<Certificate> {
    let mut params = named(name);
    params.subject_alt_names = addresses.iter().copied().map(rcgen::SanType::IpAddress).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().with_context(|| format!("make the key of the {name}"))?;
    let certificate = params
        .signed_by(&key, issuer)
        .with_context(|| format!("make the certificate of the {name}"))?;
    Ok(Certificate {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

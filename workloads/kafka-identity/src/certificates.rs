//! Whether a text holds certificates or a private key, in PEM. What the parser says may quote the text, which may be
//! anything, so errors say only which of a few things is wrong.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing of the kind in it.
    None,
    /// There is, but it cannot be read.
    Broken,
}

/// The certificates in a text, at least one.
pub fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(Problem::None),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(Problem::Broken),
    }
}

/// The first private key in a text, not encrypted.
pub fn read_key(text: &str) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Problem::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn certificates_and_keys_are_told_apart_from_each_other_and_from_what_is_broken() {
        let pair = KeyPair::generate().unwrap();
        let key = pair.serialize_pem();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap().pem();
        assert_eq!(read(&format!("# ours\n{certificate}{certificate}")).unwrap().len(), 2);
        assert!(read_key(&key).is_ok());
        assert_eq!(read(&key), Err(Problem::None));
        assert_eq!(read(&certificate[..certificate.len() / 2]), Err(Problem::Broken));
        assert!(read_key(&certificate).is_err());
    }
}

//! Whether text is what TLS needs. Checked before any client or pod gets it, because those only say that it does
//! not work.

use kafka_identity::certificates::{self as pem, Problem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

/// Pods get the text in an environment variable, and Linux starts no process with one of 128 KiB or more.
const LONGEST: usize = 120 * 1024;

/// What is wrong with a client's certificate or its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientProblem {
    /// With the certificate.
    Certificate(String),
    /// With the key.
    Key(String),
}

/// Certificates of authorities, at least one. The error says what is wrong with the text.
pub(super) fn check_authorities(text: &str) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(text)? {
        store
            .add(certificate)
            .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    }
    Ok(())
}

/// A certificate, perhaps followed by others, and the private key that belongs to the first.
pub(super) fn check_client(certificate: &str, key: &str) -> Result<(), ClientProblem> {
    let chain = certificates(certificate).map_err(ClientProblem::Certificate)?;
    if key.len() > LONGEST {
        return Err(ClientProblem::Key(too_long()));
    }
    let key = pem::read_key(key).map_err(|_| {
        let wanted = "holds no private key in PEM that can be read; an encrypted one must be decrypted first";
        ClientProblem::Key(wanted.to_owned())
    })?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(ClientProblem::Key(
            "holds a private key that does not belong to the certificate".to_owned(),
        )),
        Err(rustls::Error::InvalidCertificate(problem)) => Err(ClientProblem::Certificate(format!(
            "holds a certificate that cannot be read: {problem}"
        ))),
        Err(problem) => Err(ClientProblem::Key(format!(
            "holds a private key that cannot be used: {problem}"
        ))),
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if text.len() > LONGEST {
        return Err(too_long());
    }
    pem::read(text).map_err(|problem| match problem {
        Problem::None => "holds no certificate in PEM".to_owned(),
        Problem::Broken => "holds a certificate whose PEM is broken".to_owned(),
    })
}

fn too_long() -> String {
    format!(
        "is longer than {} KiB, more than a pod's environment takes; keep only the certificates that are needed",
        LONGEST / 1024
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    /// A certificate that signs itself, and its key.
    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn good_material_passes_with_text_around_it() {
        let ((one, key), (two, _)) = (made(), made());
        assert_eq!(check_authorities(&format!("# ours\n{one}\n# theirs\n{two}")), Ok(()));
        assert_eq!(check_client(&format!("{one}{two}"), &key), Ok(()));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let (certificate, key) = made();
        let cut = &certificate[..certificate.len() / 2];
        let cases = [
            ("", "holds no certificate in PEM"),
            ("hunter2", "holds no certificate in PEM"),
            (&key, "holds no certificate in PEM"),
            (cut, "holds a certificate whose PEM is broken"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "holds a certificate that cannot be read",
            ),
            (&certificate.repeat(300), "is longer than 120 KiB"),
        ];
        for (text, expected) in cases {
            let problem = check_authorities(text).unwrap_err();
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn a_key_must_be_readable_and_belong_to_the_certificate() {
        let ((certificate, key), (_, other)) = (made(), made());
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let cases = [
            (
                certificate.as_str(),
                other.as_str(),
                Err("does not belong to the certificate"),
            ),
            (&certificate, &encrypted, Err("must be decrypted first")),
            (&certificate, &certificate, Err("holds no private key")),
            (&key, &key, Ok("holds no certificate")),
        ];
        for (certificate, key, expected) in cases {
            match (check_client(certificate, key).unwrap_err(), expected) {
                (ClientProblem::Key(problem), Err(expected)) | (ClientProblem::Certificate(problem), Ok(expected)) => {
                    assert!(problem.contains(expected), "{problem}");
                }
                (problem, _) => panic!("{problem:?}, not {expected:?}"),
            }
        }
    }
}

//! What a failed TLS handshake means.

use std::error::Error;
use std::io;
use std::iter;
use std::sync::Arc;

use kafka_identity::Tls;
use rustls::{AlertDescription, CertificateError};

/// What to check after `failure`, in words that follow a semicolon.
pub(super) fn advice(tls: &Tls, failure: &rustls::Error) -> &'static str {
    match failure {
        rustls::Error::InvalidCertificate(problem) => advice_on_broker(tls, problem),
        // The broker speaks last about the certificates: what it refuses is ours.
        rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => match tls.client {
            None => {
                "the brokers ask for a client certificate: set spec.kafka.security.tls.clientCertSecretRef, or \
                 use a listener that does not require one"
            }
            Some(_) => {
                "the brokers refuse the client certificate: check the Secret of \
                 spec.kafka.security.tls.clientCertSecretRef and the authorities that the brokers trust"
            }
        },
        rustls::Error::InvalidMessage(_) => {
            "what answers there does not speak TLS: check the port in spec.kafka.bootstrapServers and \
             spec.kafka.security.protocol"
        }
        _ => "check spec.kafka.security.protocol and spec.kafka.security.tls",
    }
}

fn advice_on_broker(tls: &Tls, problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the brokers' certificate is for other host names: check spec.kafka.bootstrapServers and the brokers' \
             advertised listeners"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the brokers' certificate has expired: renew it"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the brokers' certificate is not valid yet: check the clocks"
        }
        _ if tls.authorities.is_some() => {
            "the brokers' certificate is not signed by an authority in the Secret of \
             spec.kafka.security.tls.caSecretRef: put the brokers' authority there"
        }
        _ => {
            "the brokers' certificate is not signed by a public authority: set \
             spec.kafka.security.tls.caSecretRef to a Secret with the brokers' authority"
        }
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// The failure of TLS that is among the causes of `error`, if there is one.
pub(super) fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    iter::successors(Some(error), |error| (*error).source()).find_map(|cause| {
        // An I/O error does not name what it wraps as its source, but gives that one's source.
        let wrapping = cause
            .downcast_ref::<io::Error>()
            .or_else(|| cause.downcast_ref::<Arc<io::Error>>().map(Arc::as_ref));
        let wrapped = wrapping.and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => wrapped.downcast_ref(),
            None => cause.downcast_ref(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_identity::ClientCertificate;
    use krafka::error::KrafkaError;

    fn of_broker(problem: CertificateError) -> rustls::Error {
        rustls::Error::InvalidCertificate(problem)
    }

    fn io(failure: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, failure)
    }

    fn with_client() -> Tls {
        Tls {
            authorities: Some("authority".into()),
            client: Some(ClientCertificate {
                certificate: "certificate".into(),
                key: "very private".into(),
            }),
        }
    }

    #[test]
    fn a_failure_is_found_however_the_client_wraps_it() {
        let refused = || rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let as_authentication = KrafkaError::auth_with_source("TLS handshake failed", io(refused()));
        let as_network = KrafkaError::network(io(refused()));
        let behind_another = KrafkaError::network(io::Error::other(as_network.clone()));
        for error in [as_authentication, as_network, behind_another] {
            assert_eq!(failure(&error), Some(&refused()), "{error:?}");
        }
        assert_eq!(failure(&KrafkaError::auth("SASL authentication failed")), None);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(failure(&KrafkaError::network(reset)), None);
    }

    #[test]
    fn advice_names_the_field_to_look_at() {
        let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let cases = [
            (
                Tls::default(),
                of_broker(CertificateError::UnknownIssuer),
                "set spec.kafka.security.tls.caSecretRef",
            ),
            (
                with_client(),
                of_broker(CertificateError::UnknownIssuer),
                "Secret of spec.kafka.security.tls.caSecretRef",
            ),
            (
                with_client(),
                of_broker(CertificateError::NotValidForName),
                "spec.kafka.bootstrapServers",
            ),
            (with_client(), of_broker(CertificateError::Expired), "renew it"),
            (
                Tls::default(),
                required.clone(),
                "set spec.kafka.security.tls.clientCertSecretRef",
            ),
            (
                with_client(),
                required,
                "check the Secret of spec.kafka.security.tls.clientCertSecretRef",
            ),
            (
                Tls::default(),
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "does not speak TLS",
            ),
        ];
        for (tls, failure, expected) in cases {
            let advice = advice(&tls, &failure);
            assert!(advice.contains(expected), "{failure:?}: {advice}");
        }
    }
}

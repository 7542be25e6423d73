//! Who a Kafka client is and whom it believes: the operator reads it from Secrets, a workload from its environment.
//!
//! - [`Login`] and [`Tls`]: both, never showing what is secret
//! - [`krafka`](mod@krafka): as the client takes it that asks brokers about topics and groups
//! - [`msk`]: tokens for Amazon MSK
//! - [`certificates`]: whether a text holds any; [`public_authorities`]: those that browsers trust

pub mod certificates;
pub mod krafka;
pub mod msk;
pub mod public_authorities;

use std::fmt;
use std::sync::Arc;

/// Who the client is to the brokers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Login {
    /// By password.
    Password {
        /// How it is proved.
        mechanism: Mechanism,
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// By the role that AWS gives this process, to Amazon MSK.
    AwsMskIam {
        /// Region of the brokers.
        region: String,
    },
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// Challenge and response with SHA-256.
    ScramSha256,
    /// Challenge and response with SHA-512.
    ScramSha512,
}

/// What TLS needs beside the host names, which are always checked.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Certificates of the authorities that may sign the brokers', in PEM; the public ones when absent.
    pub authorities: Option<Arc<str>>,
    /// What the client shows to the brokers.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its private key, both in PEM.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The certificate, followed by those between it and the authority.
    pub certificate: Arc<str>,
    /// The private key.
    pub key: Arc<str>,
}

impl Mechanism {
    /// The name in the API, in the environment and in Kafka clients' settings.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::Password {
                mechanism, username, ..
            } => f
                .debug_struct("Password")
                .field("mechanism", mechanism)
                .field("username", username)
                .finish_non_exhaustive(),
            Login::AwsMskIam { region } => f.debug_struct("AwsMskIam").field("region", region).finish(),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.is_some())
            .field("client", &self.client)
            .finish()
    }
}

impl fmt::Debug for ClientCertificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_keys_are_never_shown() {
        let login = Login::Password {
            mechanism: Mechanism::ScramSha512,
            username: "user".to_owned(),
            password: "hidden".to_owned(),
        };
        let tls = Tls {
            authorities: Some("authority".into()),
            client: Some(ClientCertificate {
                certificate: "certificate".into(),
                key: "very private".into(),
            }),
        };
        let shown = format!("{login:?} {tls:?}");
        assert!(shown.contains("user"), "{shown}");
        assert!(!shown.contains("hidden") && !shown.contains("private"), "{shown}");
    }
}

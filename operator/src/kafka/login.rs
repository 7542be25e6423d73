//! Who we are to the brokers.

use std::fmt;

use krafka::auth::{AuthConfig, OAuthBearerToken};
use krafka::error::KrafkaError;
use msk::Signer;

/// Who we are to the brokers.
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
#[allow(missing_docs)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
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

impl Login {
    /// As the client takes it, not encrypted yet.
    pub(super) fn config(&self) -> AuthConfig {
        match self {
            Login::Password {
                mechanism,
                username,
                password,
            } => {
                let make = match mechanism {
                    Mechanism::Plain => AuthConfig::sasl_plain,
                    Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256,
                    Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512,
                };
                make(username.clone(), password.clone())
            }
            Login::AwsMskIam { region } => by_token(Signer::new(region)),
        }
    }

    /// What to check after a refusal, in words that follow a semicolon.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Login::Password { .. } => "check the Secret of spec.kafka.security.sasl",
            Login::AwsMskIam { .. } => {
                "check the role of the operator's ServiceAccount and its permissions of kafka-cluster, and \
                 spec.kafka.security.sasl.awsRegion"
            }
        }
    }
}

/// The client asks for a new token before one ends.
fn by_token(signer: Signer) -> AuthConfig {
    AuthConfig::sasl_oauthbearer_provider(move || {
        let signer = signer.clone();
        async move {
            let token = signer.token().await;
            let token = token.map_err(|error| KrafkaError::auth_with_source("no token for MSK", error))?;
            Ok(OAuthBearerToken::new(token.value.as_str()).with_lifetime_ms(token.ends_millis()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::{credential_fn::provide_credentials_fn, provider::error::CredentialsError};
    use krafka::auth::SaslMechanism;

    fn password() -> Login {
        Login::Password {
            mechanism: Mechanism::ScramSha512,
            username: "user".to_owned(),
            password: "hidden".to_owned(),
        }
    }

    #[test]
    fn a_role_is_a_token_on_the_wire() {
        let region = "eu-central-1".to_owned();
        let mechanism = |login: Login| login.config().sasl_mechanism().cloned();
        assert_eq!(mechanism(Login::AwsMskIam { region }), Some(SaslMechanism::OAuthBearer));
        assert_eq!(mechanism(password()), Some(SaslMechanism::ScramSha512));
    }

    /// A broker that listens and never needs to answer: the token comes first.
    #[tokio::test]
    async fn without_a_token_the_client_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let _accepting = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
            }
        });
        let nobody = provide_credentials_fn(async || Err(CredentialsError::provider_error("AccessDenied")));
        let signer = Signer::with_provider("eu-central-1", nobody);
        let builder = krafka::Kafka::builder(address).security(by_token(signer));
        let patience = std::time::Duration::from_secs(5);
        let builder = builder.request_timeout(patience).connect_timeout(patience);
        let error = builder.connect().await.map(|_| ()).unwrap_err();
        let connection = crate::kafka::Connection {
            bootstrap_servers: "kafka:9098".to_owned(),
            login: None,
            tls: None,
        };
        let error = crate::kafka::connection::classify(&connection, &error);
        assert_eq!(error.reason(), "AwsCredentialsMissing", "{error}");
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }

    #[test]
    fn the_password_is_never_shown() {
        let shown = format!("{:?}", password());
        assert!(shown.contains("user") && !shown.contains("hidden"), "{shown}");
    }
}

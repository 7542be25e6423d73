//! How to talk to the brokers, as the environment says: for every Kafka client of a workload.

use crate::env::{Env, EnvError};
use contract::env;
use kafka_identity::{ClientCertificate, Login, Mechanism, Tls, certificates, public_authorities};
use rdkafka::ClientConfig;

/// Encryption and identity; neither for plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Certificates; absent without encryption.
    pub tls: Option<Tls>,
    /// Who this workload is; absent where the brokers do not ask.
    pub login: Option<Login>,
}

impl Security {
    /// Reads the environment; the error names the variable.
    pub fn from_env(env: &Env) -> Result<Security, EnvError> {
        let protocol = env.optional(env::KAFKA_SECURITY_PROTOCOL);
        let (encrypted, with_login) = match protocol.as_deref() {
            None | Some("PLAINTEXT") => (false, false),
            Some("SSL") => (true, false),
            Some("SASL_PLAINTEXT") => (false, true),
            Some("SASL_SSL") => (true, true),
            Some(_) => {
                let problem = "must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
                return Err(wrong(env::KAFKA_SECURITY_PROTOCOL, problem));
            }
        };
        let security = Security {
            tls: encrypted.then(|| tls_from(env)).transpose()?,
            login: with_login.then(|| login_from(env)).transpose()?,
        };
        match &security.login {
            Some(Login::AwsMskIam { .. }) if !encrypted => {
                Err(wrong(env::KAFKA_SECURITY_PROTOCOL, "must be SASL_SSL with AWS_MSK_IAM"))
            }
            _ => Ok(security),
        }
    }

    pub(super) fn set(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            set_tls(tls, config);
        }
        match &self.login {
            Some(Login::Password {
                mechanism,
                username,
                password,
            }) => config
                .set("sasl.mechanism", mechanism.name())
                .set("sasl.username", username)
                .set("sasl.password", password),
            // The client then calls its context for tokens.
            Some(Login::AwsMskIam { .. }) => config.set("sasl.mechanism", "OAUTHBEARER"),
            None => config,
        };
    }
}

fn tls_from(env: &Env) -> Result<Tls, EnvError> {
    let authorities = env.optional(env::KAFKA_SSL_CA_PEM);
    if let Some(authorities) = &authorities {
        check_certificates(env::KAFKA_SSL_CA_PEM, authorities)?;
    }
    let (certificate, key) = (env::KAFKA_SSL_CERTIFICATE_PEM, env::KAFKA_SSL_KEY_PEM);
    let has_client = [certificate, key].iter().any(|name| env.optional(name).is_some());
    Ok(Tls {
        authorities: authorities.map(Into::into),
        client: has_client.then(|| client_from(env)).transpose()?,
    })
}

fn client_from(env: &Env) -> Result<ClientCertificate, EnvError> {
    let certificate = env.required(env::KAFKA_SSL_CERTIFICATE_PEM)?;
    check_certificates(env::KAFKA_SSL_CERTIFICATE_PEM, &certificate)?;
    let key = env.required(env::KAFKA_SSL_KEY_PEM)?;
    certificates::read_key(&key)
        .map_err(|_| wrong(env::KAFKA_SSL_KEY_PEM, "must hold a private key in PEM, not encrypted"))?;
    Ok(ClientCertificate {
        certificate: certificate.into(),
        key: key.into(),
    })
}

fn login_from(env: &Env) -> Result<Login, EnvError> {
    let mechanism = match env.required(env::KAFKA_SASL_MECHANISM)?.as_str() {
        "PLAIN" => Mechanism::Plain,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        "AWS_MSK_IAM" => {
            return Ok(Login::AwsMskIam {
                region: env.required(env::KAFKA_AWS_REGION)?,
            });
        }
        _ => {
            let problem = "must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or AWS_MSK_IAM";
            return Err(wrong(env::KAFKA_SASL_MECHANISM, problem));
        }
    };
    Ok(Login::Password {
        mechanism,
        username: env.required(env::KAFKA_USERNAME)?,
        password: env.required(env::KAFKA_PASSWORD)?,
    })
}

fn set_tls(tls: &Tls, config: &mut ClientConfig) {
    // An image of one binary has no certificates of its own for the library to find.
    let authorities = tls.authorities.as_deref();
    config
        .set("ssl.ca.pem", authorities.unwrap_or_else(|| public_authorities::pem()))
        .set("ssl.endpoint.identification.algorithm", "https");
    if let Some(client) = &tls.client {
        config
            .set("ssl.certificate.pem", &*client.certificate)
            .set("ssl.key.pem", &*client.key);
    }
}

fn check_certificates(name: &str, text: &str) -> Result<(), EnvError> {
    certificates::read(text)
        .map(drop)
        .map_err(|_| wrong(name, "must hold certificates in PEM"))
}

fn wrong(name: &str, problem: &str) -> EnvError {
    EnvError::Wrong {
        name: name.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rdkafka::producer::BaseProducer;

    /// A certificate that signs itself, and its key.
    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn environment<'a>(protocol: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let base = [(env::KAFKA_SECURITY_PROTOCOL, protocol)];
        base.iter().chain(more).copied().collect()
    }

    fn config(pairs: Vec<(&str, &str)>) -> ClientConfig {
        let mut config = ClientConfig::new();
        Security::from_env(&Env::from_pairs(pairs)).unwrap().set(&mut config);
        config
    }

    /// Creating a client reads the certificates.
    fn works(config: &ClientConfig) {
        let _client: BaseProducer = config.create().unwrap();
    }

    const PASSWORD: [(&str, &str); 3] = [
        (env::KAFKA_SASL_MECHANISM, "SCRAM-SHA-512"),
        (env::KAFKA_USERNAME, "user"),
        (env::KAFKA_PASSWORD, "hidden"),
    ];

    #[test]
    fn certificates_reach_the_client() {
        let ((authority, _), (certificate, key)) = (made(), made());
        let own = [
            (env::KAFKA_SSL_CA_PEM, authority.as_str()),
            (env::KAFKA_SSL_CERTIFICATE_PEM, &certificate),
            (env::KAFKA_SSL_KEY_PEM, &key),
        ];
        let config = config(environment("SSL", &own));
        assert_eq!(config.get("security.protocol"), Some("ssl"));
        assert_eq!(config.get("ssl.ca.pem"), Some(authority.as_str()));
        assert_eq!(config.get("ssl.certificate.pem"), Some(certificate.as_str()));
        assert_eq!(config.get("ssl.key.pem"), Some(key.as_str()));
        assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("https"));
        works(&config);
    }

    #[test]
    fn without_an_authority_the_public_ones_are_trusted() {
        let config = config(environment("SASL_SSL", &PASSWORD));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("sasl.password"), Some("hidden"));
        assert_eq!(config.get("ssl.ca.pem"), Some(public_authorities::pem()));
        works(&config);
    }

    #[test]
    fn a_role_is_a_token_on_the_wire() {
        let role = [
            (env::KAFKA_SASL_MECHANISM, "AWS_MSK_IAM"),
            (env::KAFKA_AWS_REGION, "eu-central-1"),
        ];
        let config = config(environment("SASL_SSL", &role));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("sasl.mechanism"), Some("OAUTHBEARER"));
        assert_eq!(config.get("sasl.password"), None);
        works(&config);
    }

    #[test]
    fn certificates_are_left_alone_where_nothing_is_encrypted() {
        let config = config(environment("PLAINTEXT", &[(env::KAFKA_SSL_CA_PEM, "no certificate")]));
        assert_eq!(config.get("ssl.ca.pem"), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_not_shown() {
        let (certificate, key) = made();
        let cases = [
            (
                environment("TLS", &[]),
                "environment variable DI_KAFKA_SECURITY_PROTOCOL is wrong: must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
            ),
            (
                environment("SSL", &[(env::KAFKA_SSL_CA_PEM, &key)]),
                "environment variable DI_KAFKA_SSL_CA_PEM is wrong: must hold certificates in PEM",
            ),
            (
                environment("SSL", &[(env::KAFKA_SSL_CERTIFICATE_PEM, &certificate)]),
                "environment variable DI_KAFKA_SSL_KEY_PEM is not set; it is required",
            ),
            (
                environment("SSL", &[(env::KAFKA_SSL_KEY_PEM, &key)]),
                "environment variable DI_KAFKA_SSL_CERTIFICATE_PEM is not set; it is required",
            ),
            (
                environment(
                    "SSL",
                    &[
                        (env::KAFKA_SSL_CERTIFICATE_PEM, &certificate),
                        (env::KAFKA_SSL_KEY_PEM, "hunter2"),
                    ],
                ),
                "environment variable DI_KAFKA_SSL_KEY_PEM is wrong: must hold a private key in PEM, not encrypted",
            ),
            (
                environment("SASL_SSL", &PASSWORD[..2]),
                "environment variable DI_KAFKA_PASSWORD is not set; it is required",
            ),
            (
                environment("SASL_SSL", &[(env::KAFKA_SASL_MECHANISM, "AWS_MSK_IAM")]),
                "environment variable DI_KAFKA_AWS_REGION is not set; it is required",
            ),
            (
                environment(
                    "SASL_PLAINTEXT",
                    &[
                        (env::KAFKA_SASL_MECHANISM, "AWS_MSK_IAM"),
                        (env::KAFKA_AWS_REGION, "eu-central-1"),
                    ],
                ),
                "environment variable DI_KAFKA_SECURITY_PROTOCOL is wrong: must be SASL_SSL with AWS_MSK_IAM",
            ),
        ];
        for (pairs, expected) in cases {
            let error = Security::from_env(&Env::from_pairs(pairs)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (certificate, key) = made();
        let own = [
            (env::KAFKA_SSL_CERTIFICATE_PEM, certificate.as_str()),
            (env::KAFKA_SSL_KEY_PEM, &key),
        ];
        let pairs = environment("SASL_SSL", &[&PASSWORD[..], &own[..]].concat());
        let shown = format!("{:?}", Security::from_env(&Env::from_pairs(pairs)).unwrap());
        assert!(shown.contains("user"), "{shown}");
        assert!(!shown.contains("hidden") && !shown.contains("PRIVATE"), "{shown}");
    }
}

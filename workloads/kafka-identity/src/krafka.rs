//! As krafka takes it: the client that asks brokers about topics and groups.

use crate::msk::Signer;
use crate::{Login, Mechanism, Tls};
use ::krafka::auth::{AuthConfig, OAuthBearerToken, TlsConfig};
use ::krafka::error::KrafkaError;

/// Login and encryption together; plain text without either.
pub fn authentication(login: Option<&Login>, tls: Option<&Tls>) -> AuthConfig {
    let login = login.map_or_else(AuthConfig::plaintext, of_login);
    match tls {
        Some(tls) => login.with_tls(of_tls(tls)),
        None => login,
    }
}

/// A login with tokens of `signer`: the client asks for a new one before one ends.
pub fn by_token(signer: Signer) -> AuthConfig {
    AuthConfig::sasl_oauthbearer_provider(move || {
        let signer = signer.clone();
        async move {
            let token = signer.token().await;
            let token = token.map_err(|error| KrafkaError::auth_with_source("no token for MSK", error))?;
            Ok(OAuthBearerToken::new(token.value.as_str()).with_lifetime_ms(token.ends_millis()))
        }
    })
}

fn of_login(login: &Login) -> AuthConfig {
    match login {
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

/// Without authorities it trusts the public ones, which are part of the binary.
fn of_tls(tls: &Tls) -> TlsConfig {
    let mut config = TlsConfig::new();
    if let Some(authorities) = &tls.authorities {
        config = config.with_ca_cert_pem(authorities.as_bytes());
    }
    if let Some(client) = &tls.client {
        config = config.with_client_cert_pem(client.certificate.as_bytes(), client.key.as_bytes().to_vec());
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::krafka::auth::{SaslMechanism, SecurityProtocol};

    #[test]
    fn login_and_encryption_make_the_protocol() {
        let password = Login::Password {
            mechanism: Mechanism::ScramSha512,
            username: "user".to_owned(),
            password: "password".to_owned(),
        };
        let tls = Tls::default();
        let protocol = |login, tls| authentication(login, tls).security_protocol().clone();
        assert_eq!(protocol(None, None), SecurityProtocol::Plaintext);
        assert_eq!(protocol(Some(&password), None), SecurityProtocol::SaslPlaintext);
        assert_eq!(protocol(None, Some(&tls)), SecurityProtocol::Ssl);
        assert_eq!(protocol(Some(&password), Some(&tls)), SecurityProtocol::SaslSsl);
    }

    #[test]
    fn a_role_is_a_token_on_the_wire() {
        let role = Login::AwsMskIam {
            region: "eu-central-1".to_owned(),
        };
        let security = authentication(Some(&role), Some(&Tls::default()));
        assert_eq!(security.sasl_mechanism(), Some(&SaslMechanism::OAuthBearer));
    }
}

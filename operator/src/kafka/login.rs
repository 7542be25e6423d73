//! What a refused login means.

use kafka_identity::Login;

/// What to check after a refusal, in words that follow a semicolon.
pub(super) fn advice(login: &Login) -> &'static str {
    match login {
        Login::Password { .. } => "check the Secret of spec.kafka.security.sasl",
        Login::AwsMskIam { .. } => {
            "check the role of the operator's ServiceAccount and its permissions of kafka-cluster, and \
             spec.kafka.security.sasl.awsRegion"
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::{credential_fn::provide_credentials_fn, provider::error::CredentialsError};
    use kafka_identity::krafka::by_token;
    use kafka_identity::msk::Signer;

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
}

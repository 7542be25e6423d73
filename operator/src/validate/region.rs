//! The AWS region of a Kafka cluster.

use std::collections::BTreeSet;

use super::{InvalidSpec, invalid};
use crate::api::spec::{Kafka, SaslMechanism};

/// The region for which tokens are signed: as written, or as the names of all brokers tell. Nothing where no token is
/// needed.
pub(crate) fn aws_region(kafka: &Kafka) -> Result<Option<String>, InvalidSpec> {
    let sasl = kafka.security.as_ref().and_then(|security| security.sasl.as_ref());
    let Some(sasl) = sasl.filter(|sasl| sasl.mechanism == SaslMechanism::AwsMskIam) else {
        return Ok(None);
    };
    if let Some(written) = &sasl.aws_region {
        return Ok(Some(written.clone()));
    }
    let servers = kafka.bootstrap_servers.iter();
    let told: BTreeSet<&str> = servers
        .filter_map(|server| kafka_identity::msk::region::of_server(server))
        .collect();
    let problem = match told.len() {
        0 => "is needed with AWS_MSK_IAM: no name in spec.kafka.bootstrapServers tells the region",
        1 => return Ok(told.first().map(|region| (*region).to_owned())),
        _ => "is needed with AWS_MSK_IAM: the names in spec.kafka.bootstrapServers tell several regions",
    };
    Err(invalid("spec.kafka.security.sasl.awsRegion", problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn region(servers: &[&str], sasl: &serde_json::Value) -> Result<Option<String>, String> {
        let security = json!({"protocol": "SASL_SSL", "sasl": sasl});
        let kafka = json!({"bootstrapServers": servers, "security": security});
        aws_region(&serde_json::from_value(kafka).unwrap()).map_err(|error| error.to_string())
    }

    const FRANKFURT: &str = "b-1.x.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098";
    const VIRGINIA: &str = "b-1.x.abcdef.c2.kafka.us-east-1.amazonaws.com:9098";

    #[test]
    fn what_is_written_counts_and_else_the_brokers_names() {
        let role = json!({"mechanism": "AWS_MSK_IAM"});
        let written = json!({"mechanism": "AWS_MSK_IAM", "awsRegion": "eu-west-1"});
        let password = json!({"mechanism": "PLAIN", "credentialsSecretRef": {"name": "a"}});
        let some = |region: &str| Ok(Some(region.to_owned()));
        assert_eq!(region(&[FRANKFURT], &role), some("eu-central-1"));
        assert_eq!(
            region(&["alias.example.com:9098", FRANKFURT], &role),
            some("eu-central-1")
        );
        assert_eq!(region(&[FRANKFURT], &written), some("eu-west-1"));
        assert_eq!(region(&["alias.example.com:9098"], &written), some("eu-west-1"));
        assert_eq!(region(&[FRANKFURT], &password), Ok(None));
    }

    #[test]
    fn a_region_that_nobody_tells_is_missed_by_its_field() {
        let role = json!({"mechanism": "AWS_MSK_IAM"});
        assert_eq!(
            region(&["alias.example.com:9098"], &role).unwrap_err(),
            "spec.kafka.security.sasl.awsRegion: is needed with AWS_MSK_IAM: no name in spec.kafka.bootstrapServers \
             tells the region"
        );
        assert_eq!(
            region(&[FRANKFURT, VIRGINIA], &role).unwrap_err(),
            "spec.kafka.security.sasl.awsRegion: is needed with AWS_MSK_IAM: the names in \
             spec.kafka.bootstrapServers tell several regions"
        );
    }
}

//! Ways into the cluster by host name.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::naming::Naming;
use super::pod::PORT_NAME;
use crate::api::spec::IngressSettings;

/// Ingress in front of the Service of an API: everything of one host below one path.
pub fn of_api(name: &Naming, settings: &IngressSettings) -> Ingress {
    let mut metadata = name.metadata();
    metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: name.object.clone(),
            port: Some(ServiceBackendPort {
                name: Some(PORT_NAME.to_owned()),
                number: None,
            }),
        }),
        resource: None,
    };
    let path = HTTPIngressPath {
        path: Some(settings.path.clone()),
        path_type: "Prefix".to_owned(),
        backend,
    };
    let tls = settings.tls_secret_ref.as_ref().map(|secret| IngressTLS {
        hosts: Some(vec![settings.host.clone()]),
        secret_name: Some(secret.name.clone()),
    });
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: settings.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(settings.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: tls.map(|tls| vec![tls]),
            ..IngressSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use crate::api::SyncPipeline;
    use crate::plan::{Plan, SecretDigests, Settings, plan};
    use crate::validate::validate;
    use serde_json::{Value, json};

    fn planned(service: Value, ingress: Value) -> Plan {
        let object: SyncPipeline = serde_json::from_value(json!({
            "apiVersion": "syncpipeline.dev/v1alpha1", "kind": "SyncPipeline",
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "profile": "Custom", "environment": "prod", "dailyActiveUsers": 1,
                "kafka": {"bootstrapServers": ["k:9092"]},
                "topics": [{"name": "clicks", "partitions": 8}],
                "producers": [{"name": "api", "topics": ["clicks"], "image": "i", "service": service,
                    "ingress": ingress, "replicas": {"min": 1, "max": 1}}],
            },
        }))
        .unwrap();
        let settings = Settings {
            producer_image: "producer".to_owned(),
            consumer_image: "consumer".to_owned(),
            monitoring_namespace: "monitoring".to_owned(),
        };
        let owner = crate::reconcile::owner(&object);
        plan(
            &validate(&object).unwrap(),
            &settings,
            &owner,
            &SecretDigests::default(),
        )
    }

    fn type_of_service(plan: &Plan) -> Option<&str> {
        plan.services[0].spec.as_ref()?.type_.as_deref()
    }

    #[test]
    fn a_host_leads_to_the_service() {
        let plan = planned(
            json!({}),
            json!({"host": "sync.example.com", "className": "nginx", "annotations": {"a": "b"},
                "tlsSecretRef": {"name": "certificate"}}),
        );
        let ingress = serde_json::to_value(&plan.ingresses[0]).unwrap();
        assert_eq!(ingress["metadata"]["name"], "p-api");
        assert_eq!(ingress["metadata"]["annotations"], json!({"a": "b"}));
        assert_eq!(
            ingress["spec"],
            json!({
                "ingressClassName": "nginx",
                "rules": [{"host": "sync.example.com", "http": {"paths": [{
                    "path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "p-api", "port": {"name": "http"}}},
                }]}}],
                "tls": [{"hosts": ["sync.example.com"], "secretName": "certificate"}],
            })
        );
        assert_eq!(type_of_service(&plan), Some("ClusterIP"), "one way in is enough");
    }

    #[test]
    fn both_ways_in_may_be_had() {
        let plan = planned(json!({"type": "LoadBalancer"}), json!({"host": "h", "path": "/sync"}));
        assert_eq!(type_of_service(&plan), Some("LoadBalancer"));
        let spec = serde_json::to_value(plan.ingresses[0].spec.as_ref()).unwrap();
        assert_eq!(spec["rules"][0]["http"]["paths"][0]["path"], "/sync");
        assert_eq!(spec.get("tls"), None);
    }

    #[test]
    fn without_one_there_is_none() {
        let plan = planned(json!({}), Value::Null);
        assert_eq!(plan.ingresses, vec![]);
        assert_eq!(type_of_service(&plan), Some("LoadBalancer"));
    }
}

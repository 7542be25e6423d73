//! Names and labels of a component's objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use crate::validate::{InsightKind, Pipeline};

/// Kind of component that takes records over HTTP.
pub const PRODUCER: &str = "producer";
/// Kind of component that reads topics into the stores.
pub const CONSUMER: &str = "consumer";
/// Kind of component that answers from both stores.
pub const INSIGHTS: &str = "insights";
/// Kind of component that the Insights API asks about messages.
pub const SMS_EXTRACTION: &str = "smsExtraction";

/// Kind of an insights component.
pub const fn of_insight(insight: InsightKind) -> &'static str {
    match insight {
        InsightKind::Api => INSIGHTS,
        InsightKind::SmsExtraction => SMS_EXTRACTION,
    }
}

/// Label with the pipeline's name, on everything the operator makes.
pub const PIPELINE_LABEL: &str = "syncpipeline.dev/pipeline";
/// Label that says who made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "syncpipeline";
/// Label with the component's name.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Annotation of a reader's Deployment with the group that it reads for.
pub const GROUP_ANNOTATION: &str = "syncpipeline.dev/group";

/// Selector of everything that the operator made for any pipeline.
pub fn managed_selector() -> String {
    format!("{MANAGED_BY_LABEL}={MANAGED_BY}")
}

/// Selector of everything that the operator made for one pipeline.
pub fn selector_of(pipeline: &str) -> String {
    format!("{MANAGED_BY_LABEL}={MANAGED_BY},{PIPELINE_LABEL}={pipeline}")
}

/// Name of a component's objects.
pub fn object_name(pipeline: &str, component: &str) -> String {
    format!("{pipeline}-{component}")
}

/// Labels that select the pods of a component. They never change: a Deployment's selector cannot.
pub fn pod_selector(pipeline: &str, component: &str) -> BTreeMap<String, String> {
    let labels = [(PIPELINE_LABEL, pipeline), (COMPONENT_LABEL, component)];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Names and labels of one component's objects.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Name of its objects.
    pub object: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    selector: BTreeMap<String, String>,
    owner: OwnerReference,
}

impl Naming {
    /// Names of component `component` of kind `kind`.
    pub fn new(pipeline: &Pipeline, kind: &str, component: &str, owner: &OwnerReference) -> Naming {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let selector = pod_selector(&pipeline.name, component);
        let mut labels = selector.clone();
        labels.extend([
            pair("app.kubernetes.io/name", kind),
            pair("app.kubernetes.io/instance", &pipeline.name),
            pair("app.kubernetes.io/part-of", &pipeline.name),
            pair(MANAGED_BY_LABEL, MANAGED_BY),
        ]);
        Naming {
            object: object_name(&pipeline.name, component),
            namespace: pipeline.namespace.clone(),
            labels,
            selector,
            owner: owner.clone(),
        }
    }

    /// Metadata of an object of this component.
    pub fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.object.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels.clone()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// Labels of the pods.
    pub fn pod_labels(&self) -> BTreeMap<String, String> {
        self.labels.clone()
    }

    /// Labels that select the pods.
    pub fn selector(&self) -> BTreeMap<String, String> {
        self.selector.clone()
    }

    /// The same as a label selector.
    pub fn label_selector(&self) -> LabelSelector {
        LabelSelector {
            match_labels: Some(self.selector.clone()),
            match_expressions: None,
        }
    }
}

//! The API's description, at `/openapi.json`. The types here are the contract's in the words of OpenAPI; tests hold
//! the two together.
//!
//! - [`request`]: what is sent
//! - [`answer`]: what is answered

pub mod answer;
pub mod request;

pub use answer::{BadRequest, ErrorResponse, SyncResponse, Unavailable};
pub use request::{SourceName, SyncRequest};

use request::{AppOrDeviceRecord, CallRecord, ContactRecord, EventRecord, SmsRecord};
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// The document.
pub fn document() -> &'static utoipa::openapi::OpenApi {
    static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Api::openapi);
    &DOCUMENT
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SyncPipeline producer",
        description = "Takes uploads of mobile data into Kafka, and tells what became of them."
    ),
    paths(crate::api::sync, crate::receipts::receipt, crate::reconciliation::route::reconciliation),
    modifiers(&ApiKey),
    // What the path does not lead to by itself: the schema of its parameter, and the alternatives of a record.
    components(schemas(SourceName, SmsRecord, EventRecord, AppOrDeviceRecord, ContactRecord, CallRecord))
)]
struct Api;

/// How an API key is shown, where the producer asks for one.
struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let bearer = bearer.bearer_format("spk_<id>_<secret>").build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("apiKey", SecurityScheme::Http(bearer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Source, identity};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn schema(name: &str) -> Value {
        let document = serde_json::to_value(document()).unwrap();
        document["components"]["schemas"][name].clone()
    }

    fn properties(name: &str) -> BTreeSet<String> {
        schema(name)["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn requests_and_answers_are_those_of_the_contract() {
        let request = contract::SyncRequest {
            user: "u".to_owned(),
            device: "d".to_owned(),
            batch_id: Some(Uuid::nil()),
            records: vec![json!({})],
        };
        let mut fields = keys(&serde_json::to_value(request).unwrap());
        fields.insert("record".to_owned());
        assert_eq!(properties("SyncRequest"), fields);
        let receipt = identity::Receipt {
            cluster: String::new(),
            topic: String::new(),
            partition: 0,
            offset: 0,
            index: 0,
            record_id: Uuid::nil(),
        };
        let results = [
            contract::RecordResult::Stored { receipt },
            contract::RecordResult::Invalid {
                field: String::new(),
                problem: String::new(),
            },
            contract::RecordResult::Retry { reason: String::new() },
        ];
        let answer = contract::SyncResponse {
            batch_id: Uuid::nil(),
            results: results.into(),
        };
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(properties("SyncResponse"), keys(&answer));
        assert_eq!(properties("Receipt"), keys(&answer["results"][0]["receipt"]));
        let described = schema("RecordResult")["oneOf"].clone();
        for (result, described) in answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .zip(described.as_array().unwrap())
        {
            assert_eq!(keys(&described["properties"]), keys(result));
            assert_eq!(described["properties"]["status"]["enum"], json!([result["status"]]));
        }
        assert_eq!(
            schema("SourceName")["enum"],
            json!(Source::ALL.map(Source::name)),
            "{}",
            schema("SourceName")
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = serde_json::to_string(document()).unwrap();
        let references: Vec<&str> = text.split(r##""#/components/schemas/"##).skip(1).collect();
        assert!(references.len() > 10, "{text}");
        for reference in references {
            let name = reference.split('"').next().unwrap();
            assert!(schema(name).is_object(), "{name} is not described");
        }
    }

    #[test]
    fn every_example_is_a_good_record_and_every_required_field_is_required() {
        let records = [
            (Source::Sms, "SmsRecord"),
            (Source::Events, "EventRecord"),
            (Source::AppsAndDevice, "AppOrDeviceRecord"),
            (Source::Contacts, "ContactRecord"),
            (Source::CallLogs, "CallRecord"),
        ];
        assert_eq!(schema("Record")["anyOf"].as_array().unwrap().len(), records.len());
        for (source, name) in records {
            let schema = schema(name);
            let example = &schema["example"];
            contract::Record::parse(source, example).unwrap_or_else(|error| panic!("{name}: {error}"));
            for field in schema["required"].as_array().unwrap() {
                let mut without = example.clone();
                without.as_object_mut().unwrap().remove(field.as_str().unwrap());
                let error = contract::Record::parse(source, &without).unwrap_err();
                assert_eq!(Value::from(error.field), *field, "{name}");
            }
        }
    }
}

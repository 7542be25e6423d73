//! Whatever is sent: an answer, never a panic and never another 5xx than 503.

use crate::api::{Api, body, gzip, sms, zstd};
use actix_web::{
    http::{StatusCode, header},
    // Not the module itself, whose name is that of the attribute for asynchronous tests too.
    test::TestRequest,
};
use contract::http::IDEMPOTENCY_KEY;
use proptest::{prelude::*, sample::select};
use serde_json::Value;

/// A body: anything, or something close to a good one.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let good = || body(&[sms("1"), sms("2")]).into_bytes();
    let json = prop_oneof![
        Just("null".to_owned()),
        Just("1e999999".to_owned()),
        Just("-0".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        "\\PC{0,20}".prop_map(|text| Value::from(text).to_string()),
        (0..300usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        (0..300usize).prop_map(|depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))),
    ];
    let field = select(vec!["user", "device", "batchId", "records", "record", "other"]);
    let fields = prop::collection::vec((field, json.clone()), 0..6);
    let in_record = (select(vec!["id", "timestamp", "sender", "body", "\\u0000"]), json);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        // Cut short, and with bytes changed: most are no UTF-8 any more.
        (0..good().len()).prop_map(move |end| good()[..end].to_vec()),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(index, byte)| {
            let mut bytes = body(&[sms("1")]).into_bytes();
            let index = index.index(bytes.len());
            bytes[index] = byte;
            bytes
        }),
        fields.prop_map(|fields| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", fields.join(",")).into_bytes()
        }),
        in_record.prop_map(|(name, value)| {
            let record = format!("{{\"timestamp\":0,\"sender\":\"a\",\"body\":\"b\",\"{name}\":{value}}}");
            format!("{{\"user\":\"u\",\"device\":\"d\",\"records\":[{record}]}}").into_bytes()
        }),
    ]
}

/// A header's value as HTTP allows it.
fn values() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..300)
}

fn check(status: StatusCode, body: &Value) -> Result<(), TestCaseError> {
    prop_assert!(
        !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
        "{status}: {body}"
    );
    let results = body["results"].as_array().map_or(0, Vec::len);
    prop_assert!(body["error"]["code"].is_string() || results > 0, "{status}: {body}");
    Ok(())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_body_is_answered(
        body in bodies(),
        packing in 0..5usize,
        cut in any::<prop::sample::Index>(),
        source in select(vec!["sms", "events", "contacts", "%00", "a%2f..%2f"]),
    ) {
        let text = String::from_utf8_lossy(&body).into_owned();
        let (encoding, bytes) = match packing {
            0 => ("gzip", gzip(&text)),
            1 => ("zstd", zstd(&text)),
            // Said to be packed.
            2 => ("gzip", body),
            3 => ("zstd", body),
            _ => ("identity", body),
        };
        let end = cut.index(bytes.len() + 1);
        for bytes in [bytes[..end].to_vec(), bytes] {
            let request = TestRequest::post()
                .uri(&format!("/v1/sync/{source}"))
                .insert_header((header::CONTENT_TYPE, "application/json"))
                .insert_header((header::CONTENT_ENCODING, encoding))
                .set_payload(bytes);
            let answer = run(async { Api::new().call(request).await });
            check(answer.status, &answer.body)?;
        }
    }

    #[test]
    fn any_header_is_answered(
        name in select(vec![
            header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::AUTHORIZATION,
            header::HeaderName::from_static(IDEMPOTENCY_KEY),
        ]),
        value in values(),
        twice in any::<bool>(),
    ) {
        let value = header::HeaderValue::from_bytes(&value).unwrap();
        let mut request = TestRequest::post()
            .uri("/v1/sync/sms")
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .set_payload(body(&[sms("1")]))
            .insert_header((name.clone(), value.clone()));
        if twice {
            request = request.append_header((name, value));
        }
        let answer = run(async { Api::new().call(request).await });
        check(answer.status, &answer.body)?;
    }
}

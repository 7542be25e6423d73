//! A pipeline at rest.

use crate::world::with_pipeline;
use ::e2e::api_server::{BY_OPERATOR, Told, Writes};
use std::time::Duration;

/// What a pipeline that has just become Ready still has to say: the lag of its first messages.
const SETTLING: Duration = Duration::from_secs(20);
/// Two of the operator's looks at a pipeline at rest.
const REST: Duration = Duration::from_secs(60);

/// The API server counts its requests, and so also writes that change nothing, which leave no trace in any object.
#[tokio::test]
async fn an_idle_pipeline_causes_no_api_writes() {
    with_pipeline(
        "rest",
        |_| {},
        async |case| {
            tokio::time::sleep(SETTLING).await;
            let (writes, told) = (Writes::read(&case.cluster).await?, Told::read(&case.cluster).await?);
            tokio::time::sleep(REST).await;
            let since = Writes::read(&case.cluster).await?.since(&writes);
            assert_eq!(since.of_resources(&BY_OPERATOR).to_string(), "", "written at rest");
            let events = Told::read(&case.cluster).await?.since(&told);
            assert!(events.is_empty(), "Events at rest: {events:?}");
            Ok(())
        },
    )
    .await;
}

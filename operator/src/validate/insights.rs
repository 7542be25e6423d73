//! APIs beside the pipeline: the Insights API and the SMS Extraction API.

use super::{Insight, InsightKind, InvalidSpec, bounds_of, invalid, resolve_component};
use crate::api::spec::{Api, SyncPipelineSpec};
use crate::ladder;

pub(super) fn resolve_insights(
    spec: &SyncPipelineSpec,
    row: Option<&ladder::Chosen>,
) -> Result<Vec<Insight>, InvalidSpec> {
    let Some(insights) = &spec.insights else {
        return Ok(vec![]);
    };
    let written = [
        (InsightKind::Api, &insights.api),
        (InsightKind::SmsExtraction, &insights.sms_extraction),
    ];
    written
        .into_iter()
        .filter_map(|(kind, api)| Some(resolve(spec, kind, api.as_ref()?, row)))
        .collect()
}

fn resolve(
    spec: &SyncPipelineSpec,
    kind: InsightKind,
    api: &Api,
    row: Option<&ladder::Chosen>,
) -> Result<Insight, InvalidSpec> {
    let field = kind.field();
    if api.component.image.is_none() {
        return Err(invalid(
            format!("{field}.image"),
            "is needed: the operator brings no image of its own for this component",
        ));
    }
    if spec.postgres.is_none() {
        return Err(invalid("spec.postgres", format!("is needed by {field}")));
    }
    let bounds = bounds_of(field, &api.component, Some(kind.column()), row)?;
    Ok(Insight {
        component: resolve_component(kind.component(), &api.component, bounds, contract::port::INSIGHTS),
        kind,
        service: api.service.clone(),
    })
}

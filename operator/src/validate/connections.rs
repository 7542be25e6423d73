//! What the stores can bear: pods × connections of a pod must fit `maxConnections`. Pure.
//!
//! Pools are made smaller first. Where one connection a pod is still too many, components may have fewer pods.

use super::{Component, InsightKind, Pipeline};

/// Connections that a pod of ours holds to PostgreSQL where nothing limits it.
const POSTGRES_POOL: i32 = 8;
/// Connections that a pod holds to MongoDB where nothing limits it: the contract's default.
const MONGODB_POOL: i32 = 100;

/// Most connections of one pod; absent where nothing limits them and the image has its own default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pools {
    /// To PostgreSQL.
    pub postgres: Option<i32>,
    /// To MongoDB.
    pub mongodb: Option<i32>,
}

/// Divides the connections of both stores among the pods.
pub(super) fn fit(mut pipeline: Pipeline) -> Pipeline {
    let limit = pipeline.postgres.as_ref().and_then(|postgres| postgres.max_connections);
    if let Some(limit) = limit {
        pipeline.pools.postgres = Some(share(users_of_postgres(&mut pipeline), limit, POSTGRES_POOL));
    }
    if let Some((limit, pool)) = pipeline
        .mongodb
        .as_ref()
        .map(|mongodb| (mongodb.max_connections, mongodb.pool_max()))
    {
        pipeline.pools.mongodb = pool;
        if let Some(limit) = limit {
            let most = pool.unwrap_or(MONGODB_POOL);
            pipeline.pools.mongodb = Some(share(users_of_mongodb(&mut pipeline), limit, most));
        }
    }
    pipeline
}

/// Every component uses PostgreSQL: producers keep keys, quotas and answers there.
fn users_of_postgres(pipeline: &mut Pipeline) -> Vec<&mut Component> {
    let producers = pipeline.producers.iter_mut().map(|producer| &mut producer.component);
    let consumers = pipeline.consumers.iter_mut().map(|consumer| &mut consumer.component);
    let insights = pipeline.insights.iter_mut().map(|insight| &mut insight.component);
    producers.chain(consumers).chain(insights).collect()
}

/// Neither producers nor the SMS Extraction API use MongoDB.
fn users_of_mongodb(pipeline: &mut Pipeline) -> Vec<&mut Component> {
    let consumers = pipeline.consumers.iter_mut().map(|consumer| &mut consumer.component);
    let insights = pipeline
        .insights
        .iter_mut()
        .filter(|insight| insight.kind == InsightKind::Api)
        .map(|insight| &mut insight.component);
    consumers.chain(insights).collect()
}

/// The size of a pool with which all pods fit `limit`; takes pods away where none would.
fn share(mut users: Vec<&mut Component>, limit: i32, most: i32) -> i32 {
    let pods = |users: &[&mut Component]| users.iter().map(|user| with_surge(user.bounds.max)).sum::<i32>();
    while pods(&users) > limit {
        // From whoever may have the most, so that nobody is left without.
        let Some(largest) = users
            .iter_mut()
            .max_by_key(|user| user.bounds.max)
            .filter(|user| user.bounds.max > 1)
        else {
            break;
        };
        largest.bounds.max -= 1;
        largest.bounds.min = largest.bounds.min.min(largest.bounds.max);
        largest.short_of_connections += 1;
    }
    (limit / pods(&users).max(1)).clamp(1, most)
}

/// Pods while a Deployment is rolled: a quarter more than its replicas.
fn with_surge(replicas: i32) -> i32 {
    replicas + (replicas + 3) / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Bounds;
    use proptest::prelude::*;

    fn component(max: i32) -> Component {
        Component {
            name: "a".into(),
            image: None,
            bounds: Bounds { min: 1.min(max), max },
            short_of_connections: 0,
            resources: None,
            port: 8080,
            probes: Default::default(),
            env: vec![],
            pod: Default::default(),
        }
    }

    #[test]
    fn pools_shrink_before_pods_are_taken_away() {
        let (mut sms, mut events) = (component(16), component(10));
        // 20 and 13 pods while both are rolled.
        assert_eq!(share(vec![&mut sms, &mut events], 100, 8), 3);
        assert_eq!((sms.bounds.max, events.bounds.max), (16, 10));
        assert_eq!(share(vec![&mut sms, &mut events], 1000, 8), 8);
    }

    #[test]
    fn pods_are_taken_from_the_largest_where_one_connection_each_is_too_many() {
        let (mut sms, mut events) = (component(16), component(4));
        assert_eq!(share(vec![&mut sms, &mut events], 15, 8), 1);
        assert_eq!((sms.bounds.max, sms.short_of_connections), (8, 8));
        assert_eq!((events.bounds.max, events.short_of_connections), (4, 0));
    }

    proptest! {
        #[test]
        fn all_pods_fit_unless_each_component_has_one(maxima in prop::collection::vec(0..60i32, 1..6), limit in 1..500i32) {
            let mut components: Vec<Component> = maxima.iter().map(|max| component(*max)).collect();
            let pool = share(components.iter_mut().collect(), limit, 8);
            let pods: i32 = components.iter().map(|component| with_surge(component.bounds.max)).sum();
            prop_assert!((1..=8).contains(&pool));
            prop_assert!(pods * pool <= limit || components.iter().all(|component| component.bounds.max <= 1));
            for (component, max) in components.iter().zip(maxima) {
                prop_assert_eq!(component.bounds.max + component.short_of_connections, max);
                prop_assert!(component.bounds.min <= component.bounds.max);
            }
        }
    }
}

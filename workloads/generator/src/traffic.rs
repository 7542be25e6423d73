//! The n-th upload of a seed.

use crate::people::{POPULATION, Person, Stream, stream};
use crate::records;
use chrono::{DateTime, Utc};
use contract::{Source, SyncRequest};
use rand::RngExt;
use std::str::FromStr;
use uuid::Builder;

/// Shares of the sources among the uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(Source, u32)>);

/// A mix that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "mix {0:?}: write SOURCE=SHARE,…, for example sms=4,events=3; sources are sms, events, apps_and_device, contacts, call_logs"
)]
pub struct MixError(String);

impl Default for Mix {
    fn default() -> Mix {
        Mix(vec![
            (Source::Sms, 8),
            (Source::Events, 3),
            (Source::AppsAndDevice, 2),
            (Source::Contacts, 2),
            (Source::CallLogs, 5),
        ])
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Mix, MixError> {
        let share = |part: &str| {
            let (source, share) = part.split_once('=')?;
            Some((source.parse().ok()?, share.parse().ok()?))
        };
        let shares: Option<Vec<(Source, u32)>> = text.split(',').map(share).collect();
        shares
            .filter(|shares| shares.iter().any(|(_, share)| *share > 0))
            .map(Mix)
            .ok_or_else(|| MixError(text.to_owned()))
    }
}

/// One request to the producer.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its number in the run.
    pub number: u64,
    /// Where it goes.
    pub source: Source,
    /// Its body.
    pub request: SyncRequest,
}

/// Everything that one seed can send.
#[derive(Debug, Clone)]
pub struct Traffic {
    seed: u64,
    now: DateTime<Utc>,
    mix: Mix,
}

impl Traffic {
    /// Traffic of a seed, with records that happened in the days before `now`.
    pub fn new(seed: u64, now: DateTime<Utc>, mix: Mix) -> Traffic {
        Traffic { seed, now, mix }
    }

    /// The upload with this number: the same for the same seed, time, mix and size, whichever were made before.
    pub fn upload(&self, number: u64, records: Option<u32>) -> Upload {
        let mut rng = stream(self.seed, Stream::Upload, number);
        let source = self.source(rng.random());
        let person = Person::of(self.seed, rng.random_range(0..POPULATION));
        let batch_id = Builder::from_random_bytes(rng.random()).into_uuid();
        let count = records.unwrap_or_else(|| rng.random_range(records::usual(source)));
        let records = (0..count)
            .map(|_| records::record(source, &person, self.now, &mut rng))
            .collect();
        Upload {
            number,
            source,
            request: SyncRequest {
                user: person.user,
                device: person.device,
                batch_id: Some(batch_id),
                records,
            },
        }
    }

    fn source(&self, chance: u32) -> Source {
        let total: u32 = self.mix.0.iter().map(|(_, share)| share).sum();
        let mut left = chance % total.max(1);
        for (source, share) in &self.mix.0 {
            if left < *share {
                return *source;
            }
            left -= share;
        }
        Source::Sms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Record;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn traffic(seed: u64) -> Traffic {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        Traffic::new(seed, now, Mix::default())
    }

    fn json(upload: &Upload) -> serde_json::Value {
        serde_json::to_value(&upload.request).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_uploads_in_any_order() {
        let forwards: Vec<_> = (0..200).map(|number| json(&traffic(7).upload(number, None))).collect();
        let mut backwards: Vec<_> = (0..200)
            .rev()
            .map(|number| json(&traffic(7).upload(number, None)))
            .collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_ne!(
            forwards[0],
            json(&traffic(8).upload(0, None)),
            "another seed, another upload"
        );
    }

    #[test]
    fn every_source_takes_part_and_no_client_id_comes_twice() {
        let uploads: Vec<_> = (0..500).map(|number| traffic(7).upload(number, None)).collect();
        let sources: HashSet<_> = uploads.iter().map(|upload| upload.source).collect();
        assert_eq!(sources, HashSet::from(Source::ALL));
        let records: Vec<_> = uploads.iter().flat_map(|upload| &upload.request.records).collect();
        let ids: HashSet<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), records.len());
    }

    #[test]
    fn a_mix_may_leave_sources_out() {
        let mix: Mix = "sms=0,events=1".parse().unwrap();
        let only = Traffic::new(7, DateTime::UNIX_EPOCH, mix);
        assert!((0..50).all(|number| only.upload(number, Some(1)).source == Source::Events));
        for wrong in ["", "sms", "sms=x", "tea=1", "sms=0"] {
            wrong.parse::<Mix>().unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn every_record_is_one_that_the_producer_takes(seed: u64, number: u64, records in proptest::option::of(1_u32..30)) {
            let upload = traffic(seed).upload(number, records);
            if let Some(records) = records {
                prop_assert_eq!(upload.request.records.len(), records as usize);
            }
            for record in &upload.request.records {
                prop_assert!(Record::parse(upload.source, record).is_ok(), "{}: {record}", upload.source);
            }
        }
    }
}

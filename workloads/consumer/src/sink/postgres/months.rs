//! The months of the partitioned tables: created before they begin, dropped when they are kept no longer. Everybody
//! writes meanwhile, so it is done in small steps, each a transaction of its own.

use super::{Postgres, bounded};
use crate::sink::StoreError;
use chrono::{Datelike, Months, NaiveDate, Utc};
use contract::{Source, source::Storage};
use sqlx::{FromRow, postgres::PgRow};
use std::time::Duration;

/// Longest step, which waits for running writes for two seconds at most.
const STEP_TIMEOUT: Duration = Duration::from_secs(40);
/// Months kept ready before and after the present one.
const MONTHS_BEFORE: u32 = 1;
const MONTHS_AFTER: u32 = 2;

impl Postgres {
    /// Creates the months around the present where they are missing.
    pub async fn create_months(&self) -> Result<(), StoreError> {
        let months = months_around(Utc::now().date_naive());
        for source in self.partitioned() {
            if let Some(first) = months.first() {
                self.step::<bool>("SELECT keep_past_apart($1, $2)", source, *first)
                    .await?;
            }
            for month in &months {
                let mut created = false;
                while self.step::<bool>("SELECT create_month($1, $2)", source, *month).await? == Some(true) {
                    created = true;
                }
                if created {
                    tracing::info!(table = source.name(), month = %month.format("%Y-%m"), "partition created");
                }
            }
        }
        Ok(())
    }

    /// Drops the months that are older than `kept` whole months before the present one, and deletes older rows of which
    /// there is no month.
    pub async fn drop_months(&self, kept: u32) -> Result<(), StoreError> {
        let Some(limit) = first_kept(Utc::now().date_naive(), kept) else {
            return Ok(());
        };
        for source in self.partitioned() {
            while let Some(table) = self.step::<String>("SELECT drop_months($1, $2)", source, limit).await? {
                tracing::info!(table, "partition dropped: its month is kept no longer");
            }
            let mut deleted = 0;
            while let Some(rows @ 1..) = self.step::<i64>("SELECT delete_before($1, $2)", source, limit).await? {
                deleted += rows;
            }
            if deleted > 0 {
                tracing::info!(
                    table = source.name(),
                    rows = deleted,
                    "rows deleted that are kept no longer"
                );
            }
        }
        Ok(())
    }

    fn partitioned(&self) -> impl Iterator<Item = Source> {
        let append = |source: &Source| source.storage() == Storage::Append;
        self.sources().iter().copied().filter(append)
    }

    /// What a function of the schema answers, of a table and a month.
    async fn step<T>(&self, statement: &'static str, source: Source, month: NaiveDate) -> Result<Option<T>, StoreError>
    where
        T: Send + Unpin,
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        let answer = sqlx::query_scalar(statement).bind(source.name()).bind(month);
        bounded(STEP_TIMEOUT, answer.fetch_optional(&self.pool)).await
    }
}

/// The first month that is kept on `today`, where `kept` whole months before the present one are.
fn first_kept(today: NaiveDate, kept: u32) -> Option<NaiveDate> {
    today.with_day(1)?.checked_sub_months(Months::new(kept))
}

/// First days of the months that are to exist on `today`.
fn months_around(today: NaiveDate) -> Vec<NaiveDate> {
    let first = today.with_day(1).unwrap_or(today);
    let Some(earliest) = first.checked_sub_months(Months::new(MONTHS_BEFORE)) else {
        return vec![first];
    };
    (0..=MONTHS_BEFORE + MONTHS_AFTER)
        .filter_map(|month| earliest.checked_add_months(Months::new(month)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_kept_until_the_last_day_that_counts() {
        let kept = |day: &str, months| first_kept(day.parse().unwrap(), months).unwrap().to_string();
        assert_eq!(kept("2026-03-31", 1), "2026-02-01");
        assert_eq!(kept("2026-01-01", 13), "2024-12-01");
    }

    #[test]
    fn the_months_around_the_end_of_a_year() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 31).unwrap();
        let months: Vec<String> = months_around(today).iter().map(NaiveDate::to_string).collect();
        assert_eq!(months, ["2026-11-01", "2026-12-01", "2027-01-01", "2027-02-01"]);
    }
}

//! What must hold, on real services.

mod accounts;
mod copies;
mod erasures;
mod faults;
mod identity;
mod poison;
mod privacy;
mod rewinds;
mod storing;
mod topics;

use crate::stage::Stage;
use anyhow::Result;
use futures::future::LocalBoxFuture;

type Scenario = fn(Stage) -> LocalBoxFuture<'static, Result<()>>;

macro_rules! scenarios {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        /// Every scenario, by name.
        pub(crate) const ALL: [(&str, Scenario); [$(stringify!($name)),+].len()] =
            [$((stringify!($name), |stage| Box::pin($module::$name(stage)))),+];
    };
}

scenarios![
    storing::all_sources_are_stored,
    storing::many_replicas_start_at_once,
    storing::a_month_takes_its_rows_from_the_default_partition,
    storing::a_month_is_created_a_few_rows_at_a_time,
    identity::a_replay_changes_nothing,
    identity::a_record_sent_again_is_stored_once,
    identity::a_moved_ledger_fences_and_is_read_again,
    identity::a_newer_version_replaces_an_older_one,
    copies::what_is_refused_makes_room_for_another_copy,
    copies::what_was_erased_makes_room_for_what_is_sent_later,
    copies::a_message_of_too_many_records_is_one_dead_letter,
    poison::what_postgresql_refuses_is_dead_lettered,
    poison::what_a_trigger_refuses_is_dead_lettered,
    poison::rules_of_tables_change,
    poison::what_mongodb_refuses_is_dead_lettered,
    poison::a_letter_that_is_too_long_is_written_again_alone,
    poison::dead_letters_are_sent_again,
    privacy::nothing_that_a_message_holds_is_written_down,
    faults::a_reader_killed_in_mid_load,
    faults::readers_come_and_go_under_load,
    faults::a_pause_ends_for_partitions_that_come_back,
    faults::a_pause_ends_with_a_fence,
    faults::databases_killed_in_mid_load,
    faults::mongodb_holds_up_only_what_is_stored_there,
    faults::kafka_killed_in_mid_load,
    topics::a_recreated_topic_is_read_from_its_start,
    accounts::every_record_is_accounted_for,
    accounts::what_kafka_deleted_is_told,
    rewinds::a_plan_of_a_rewind_creates_no_tables,
    rewinds::a_rewind_reads_once_more_and_stores_nothing_twice,
    rewinds::a_rewind_fills_another_schema,
    rewinds::a_copy_begins_as_early_as_it_is_asked_to,
    rewinds::a_copy_ends_where_nothing_is_left_to_read,
    erasures::an_erased_user_stays_erased,
    erasures::an_erased_user_stays_erased_of_copies,
    erasures::commands_wait_for_writes_under_way,
    accounts::where_nearly_nothing_can_be_stored_nothing_is_given_up,
    accounts::a_fence_ends_what_was_refused,
    accounts::what_is_kept_no_longer_is_dropped,
    storing::rate_of_a_backlog,
];

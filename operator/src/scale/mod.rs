//! Lag → replicas.
//!
//! - [`lag`]: offsets → lag, with what is not known kept apart                          (pure)
//! - [`delay`]: offsets → how long ago the next unread message arrived                   (pure)
//! - [`health`]: offsets over a minute → how the reader of a partition is doing         (pure)
//! - [`window`]: the lowest lag within one commit interval                              (pure)
//! - [`decide`]: lag, policy and memory → decision                                      (pure)
//! - [`climb`]: along the rungs, by thresholds; [`drain`]: within a target time           (pure)
//! - [`rates`]: what arrives and what pods write                                        (pure)
//! - `idle`: whether anything happens at all                                            (pure)
//! - [`manual`]: whether somebody else has set the replicas                             (pure)
//! - [`usage`]: what pods use of their size → the least number of them                   (pure)
//! - [`schedule`]: the hour → the least number of them                                  (pure)
//! - [`floor`]: the least number of them, from wherever                                 (pure)
//! - [`meter`]: what pods use, as the cluster measures it
//! - [`summary`]: how a reader is scaled, in a line                                    (pure)
//! - [`target`]: a pipeline → what its follower follows                                 (pure)
//! - [`reader`]: what is remembered of one reader
//! - [`seen`]: what a follower sees, for the status
//! - [`follow`]: the loop that reads, decides and patches, one task a pipeline
//! - [`followers`]: all of them

pub mod climb;
pub mod decide;
pub mod delay;
pub mod drain;
pub mod floor;
pub mod follow;
pub mod followers;
pub mod health;
mod idle;
pub mod lag;
pub mod manual;
pub mod meter;
pub mod rates;
pub mod reader;
pub mod schedule;
pub mod seen;
pub mod summary;
pub mod target;
pub mod usage;
pub mod window;

//! Lag → replicas.
//!
//! - [`lag`]: offsets → lag, with what is not known kept apart                          (pure)
//! - [`window`]: the lowest lag within one commit interval                              (pure)
//! - [`decide`]: lag, policy and memory → decision                                      (pure)
//! - [`manual`]: whether somebody else has set the replicas                             (pure)
//! - [`target`]: a pipeline → what its follower follows                                 (pure)
//! - [`seen`]: what a follower sees, for the status
//! - [`follow`]: the loop that reads, decides and patches, one task a pipeline
//! - [`followers`]: all of them

pub mod decide;
pub mod follow;
pub mod followers;
pub mod lag;
pub mod manual;
pub mod seen;
pub mod target;
pub mod window;

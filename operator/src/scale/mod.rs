//! Lag → replicas.
//!
//! - [`lag`]: offsets → lag, with what is not known kept apart                          (pure)
//! - [`window`]: the lowest lag within one commit interval                              (pure)
//! - [`decide`]: lag, policy and memory → decision                                      (pure)
//! - [`target`]: a pipeline → what its follower follows                              (pure)
//! - [`follow`]: the loop that reads, decides and patches

pub mod decide;
pub mod follow;

pub mod lag;
pub mod target;
pub mod window;

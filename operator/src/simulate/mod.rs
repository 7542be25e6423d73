//! What a policy would do: readers of one topic in a model, under one load, with one scaler. Pure, and the same for the
//! same seed.
//!
//! - [`load`]: records a second, second by second
//! - [`group`]: the readers: pods that start and stop, rebalances, commits
//! - [`scaler`]: this operator's policy as a scaler of the model; [`keda`]: KEDA with a HorizontalPodAutoscaler
//! - [`trial`]: a load, a group and a scaler → what became of it
//! - [`contest`]: the operator against KEDA, over many loads; [`faults`]: the operator while something is wrong
//! - [`of_pipeline`]: a reader of a pipeline as the model has it
//! - [`report`]: trials as a table; [`chart`]: as a picture

pub mod chart;
pub mod contest;
pub mod faults;
pub mod group;
pub mod keda;
pub mod load;
pub mod of_pipeline;
pub mod report;
pub mod scaler;
pub mod trial;

//! The load balancer before the edge, as far as it must be told that the edge leaves.
//!
//! Whatever goes wrong here is a line in the log: an edge that can't take itself out leaves all the same, and the
//! balancer notices by its health checks.

use service::config::Edge;
use service::machine::Notice;
use tokio::sync::watch;

#[cfg(feature = "aws")]
use service::target_group::TargetGroup;

/// Stands where no group can be had.
#[cfg(not(feature = "aws"))]
type TargetGroup = std::convert::Infallible;

/// The edge as its balancer knows it.
#[derive(Debug)]
pub(crate) struct Balancer {
    group: TargetGroup,
    /// `edge.target_id`.
    id: Option<String>,
    /// Without it, what the machine says it is called.
    machine: Option<watch::Receiver<Notice>>,
}

impl Balancer {
    /// What `edge.target_group` names, if it names any.
    pub(crate) async fn open(edge: &Edge, machine: Option<watch::Receiver<Notice>>) -> anyhow::Result<Option<Self>> {
        let Some(arn) = &edge.target_group else { return Ok(None) };
        if edge.target_id.is_none() && machine.is_none() {
            tracing::warn!(
                "edge.target_group is set, but not edge.target_id, and this is no EC2 instance that would know its own: \
                 this edge can't take itself out of its target group"
            );
        }
        Ok(Some(Self { group: group(arn).await?, id: edge.target_id.clone(), machine }))
    }

    /// Takes the edge out of its target group. Has a time limit of its own.
    pub(crate) async fn leave(&self) {
        let named = || self.machine.as_ref().and_then(|machine| machine.borrow().instance.clone());
        match self.id.clone().or_else(named) {
            Some(id) => deregister(&self.group, &id).await,
            None => tracing::warn!("can't leave the target group: the machine has not said what it is called"),
        }
    }
}

#[cfg(feature = "aws")]
async fn group(arn: &str) -> anyhow::Result<TargetGroup> {
    Ok(TargetGroup::open(arn).await)
}

#[cfg(not(feature = "aws"))]
async fn group(_: &str) -> anyhow::Result<TargetGroup> {
    anyhow::bail!(
        "edge.target_group: this binary was built without AWS: use one built with `cargo build --features aws`"
    )
}

#[cfg(feature = "aws")]
async fn deregister(group: &TargetGroup, id: &str) {
    match group.deregister(id).await {
        Ok(()) => tracing::info!(target_id = id, "out of the target group"),
        Err(error) => tracing::error!(target_id = id, %error, "can't leave the target group; leaving all the same"),
    }
}

#[cfg(not(feature = "aws"))]
async fn deregister(group: &TargetGroup, _: &str) {
    match *group {}
}

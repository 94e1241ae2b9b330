//! A load balancer's target group, and taking a target out of it.
//!
//! Region and partition are the group's own; credentials and endpoint come from where all AWS tools have them, which the
//! SDK reads by itself. Knows nothing of who leaves or why.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::error::DisplayErrorContext;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::timeout::TimeoutConfig;
use std::time::Duration;

/// For everything: credentials, connecting, and what is tried again.
pub const DEREGISTER_WITHIN: Duration = Duration::from_secs(10);

/// For one try, so that there is time for another.
const TRY_WITHIN: Duration = Duration::from_secs(4);

/// For a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Why a target could not be taken out of its group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The load balancer's interface refused, or could not be asked.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("no answer within {} s", DEREGISTER_WITHIN.as_secs())]
    Late,
}

/// A target group.
#[derive(Debug, Clone)]
pub struct TargetGroup {
    arn: String,
    client: Client,
}

impl TargetGroup {
    /// Of this ARN, which the config has checked. Reads the AWS configuration; credentials are fetched when needed.
    pub async fn open(arn: &str) -> Self {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(DEREGISTER_WITHIN)
            .operation_attempt_timeout(TRY_WITHIN)
            .connect_timeout(CONNECT_WITHIN);
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts.build());
        let config = match region(arn) {
            Some(region) => loader.region(Region::new(region.to_owned())).load().await,
            None => loader.load().await,
        };
        Self { arn: arn.to_owned(), client: Client::new(&config) }
    }

    /// Takes a target (an instance id or an IP address, with whatever ports) out of the group.
    pub async fn deregister(&self, target: &str) -> Result<(), Error> {
        let target = TargetDescription::builder().id(target).build();
        let request = self.client.deregister_targets().target_group_arn(&self.arn).targets(target);
        match tokio::time::timeout(DEREGISTER_WITHIN, request.send()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::Refused(DisplayErrorContext(error).to_string())),
            Err(_) => Err(Error::Late),
        }
    }
}

/// The region in an ARN.
fn region(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_in_the_region_of_its_arn() {
        let arn = "arn:aws-cn:elasticloadbalancing:cn-north-1:123456789012:targetgroup/edges/0123456789abcdef";
        assert_eq!(region(arn), Some("cn-north-1"));
        assert_eq!(region("arn:aws:s3:::bucket"), None);
    }
}

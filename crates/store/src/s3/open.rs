//! A client for a bucket: whom to ask and how patiently.

use super::S3;
use crate::error::{Error, Trouble};
use crate::limits::Limits;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_types::service_config::ServiceConfigKey;
use std::time::Duration;

/// Longest pause between two attempts.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Which behaviour of the SDK this was written for.
pub(crate) fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The SDK's own default would bring a second implementation of TLS along.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

impl S3 {
    /// Finds credentials, region and endpoint where every AWS program looks: environment, profile, web identity,
    /// container, instance.
    pub(crate) async fn open(bucket: &str, prefix: &str, limits: Limits) -> Result<Self, Error> {
        let found = aws_config::defaults(behavior()).http_client(http_client()).load().await;
        Self::with(&found, bucket, prefix, limits)
    }

    /// The same with what was found.
    pub(super) fn with(found: &SdkConfig, bucket: &str, prefix: &str, limits: Limits) -> Result<Self, Error> {
        let endpoint = endpoint(found, "S3");
        let retries = RetryConfig::standard().with_max_attempts(limits.attempts);
        let mut config = Builder::from(found)
            .timeout_config(timeouts(limits))
            .retry_config(retries.with_initial_backoff(limits.pause).with_max_backoff(BACKOFF_MAX))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(limits.stall).build())
            // Names below an endpoint's own name are AWS's habit; other servers mostly don't have them.
            .force_path_style(endpoint.is_some());
        if found.region().is_none() {
            if endpoint.is_none() {
                return Err(Error::Remote {
                    doing: "open",
                    place: format!("s3://{bucket}"),
                    why: "no AWS region is known; set AWS_REGION".to_owned(),
                    trouble: Trouble::Refused,
                });
            }
            // Requests are signed for a region, and servers that have none take this one.
            config = config.region(Region::from_static("us-east-1"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let client = Client::from_conf(config.build());
        Ok(Self { client, bucket: bucket.into(), prefix: prefix.into(), limits })
    }
}

/// `AWS_ENDPOINT_URL_` and the service's name, `AWS_ENDPOINT_URL`, or what a profile says.
pub(crate) fn endpoint(found: &SdkConfig, service: &'static str) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    let of_service = found.service_config().and_then(|config| config.load_config(key));
    of_service.or_else(|| found.endpoint_url().map(str::to_owned))
}

/// What of the limits the SDK keeps by time.
pub(crate) fn timeouts(limits: Limits) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits.connect)
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.operation)
        .build()
}

//! Objects of Amazon S3, or of a store that speaks its protocol, by `s3://bucket/prefix`.
//!
//! Endpoint, region and credentials come from the usual environment variables: `AWS_ENDPOINT_URL`,
//! `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`.

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{Error as Cause, RetryConfig};

use crate::error::{Error, ErrorKind, Result};

/// What stands before the bucket's name.
pub(crate) const SCHEME: &str = "s3://";

/// How often a request is repeated, 0.1 s to 0.4 s later, before the store counts as away.
const RETRIES: usize = 3;

/// A prefix of a bucket.
#[derive(Debug)]
pub(crate) struct Prefix {
    url: String,
    pub(crate) client: AmazonS3,
    prefix: Path,
}

/// Bucket and prefix of a URL; neither is empty.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix(SCHEME)?;
    let (bucket, prefix) = rest.split_once('/')?;
    let prefix = prefix.trim_end_matches('/');
    (!bucket.is_empty() && !prefix.is_empty()).then_some((bucket, prefix))
}

impl Prefix {
    /// * `what`: whose place it is, for messages.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if URL or environment can't be used.
    pub(crate) fn open(what: &str, url: &str) -> Result<Self> {
        let (bucket, prefix) = split(url).ok_or_else(|| {
            Error::config(format!("the {what} \"{url}\" is no s3://bucket/prefix"))
                .advise("name a bucket and a prefix of its own for this pipeline")
        })?;
        let retries = RetryConfig { max_retries: RETRIES, ..RetryConfig::default() };
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries);
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key));
        // Who names an http endpoint has allowed it.
        let is_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let builder = if is_http { builder.with_allow_http(true) } else { builder };
        let client = builder.build().map_err(|source| {
            Error::config(format!("the {what} \"{url}\" can't be reached")).because(source).advise(
                "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for another store than Amazon's, AWS_ENDPOINT_URL",
            )
        })?;
        let prefix = Path::parse(prefix)
            .map_err(|source| Error::config(format!("the {what} \"{url}\" can't be used")).because(source))?;
        Ok(Self { url: url.to_owned(), client, prefix })
    }

    /// The prefix itself.
    pub(crate) fn root(&self) -> Path {
        self.prefix.clone()
    }

    /// The object of a name below the prefix.
    pub(crate) fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// The URL of a name below the prefix.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url.trim_end_matches('/'))
    }

    /// What an error of the store asks for.
    pub(crate) fn failed(&self, action: &str, name: &str, error: Cause) -> Error {
        let (kind, advice) = match &error {
            Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => {
                (ErrorKind::Config, "grant s3:GetObject, PutObject, DeleteObject and ListBucket")
            }
            Cause::NotFound { .. } => (ErrorKind::Config, "create the bucket, or correct the URL"),
            Cause::AlreadyExists { .. } | Cause::Precondition { .. } => {
                (ErrorKind::Fenced, "another engine uses this checkpoint: leave the work to it")
            }
            Cause::NotImplemented { .. } | Cause::NotSupported { .. } => {
                (ErrorKind::Config, "the store must know conditional puts (If-None-Match)")
            }
            _ if is_refusal(&error) => (
                ErrorKind::Config,
                "check AWS_REGION, AWS_ENDPOINT_URL and that the credentials have not expired",
            ),
            _ => (ErrorKind::Unavailable, "check AWS_ENDPOINT_URL and the network"),
        };
        Error::new(kind, format!("could not {action} \"{}\"", self.url(name))).because(error).advise(advice)
    }
}

/// Whether the store has understood the request and does not want it; object_store says so in words only.
fn is_refusal(error: &Cause) -> bool {
    let text = error.to_string();
    let status = text.split("status code: ").nth(1).unwrap_or_default();
    let passes = ["408", "429"].iter().any(|code| status.starts_with(code));
    (status.starts_with('4') && !passes) || text.contains("Received redirect")
}

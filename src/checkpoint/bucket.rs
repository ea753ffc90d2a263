//! A checkpoint in a bucket of Amazon S3 or a store that speaks its protocol.
//!
//! A put is atomic and durable when it is answered; `If-None-Match: *` keeps it from overwriting. There
//! is no lock: the newest engine wins, see [`Checkpoint::claim`](super::Checkpoint::claim).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{Error as Cause, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};

use super::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::faults::{FailPoint, Faults};

/// What stands before the bucket's name in `--checkpoint`.
pub const SCHEME: &str = "s3://";

/// How often a request is repeated, 0.1 s to 0.4 s later, before the store counts as away.
const RETRIES: usize = 3;

/// Objects under a prefix of a bucket.
#[derive(Debug)]
pub struct Bucket {
    url: String,
    client: AmazonS3,
    prefix: Path,
    faults: Arc<Faults>,
}

impl Bucket {
    /// `url` is `s3://bucket/prefix`; endpoint, region and credentials come from the usual environment
    /// variables (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if they can't be used.
    pub fn open(url: &str, faults: Arc<Faults>) -> Result<Self> {
        let (bucket, prefix) = url
            .strip_prefix(SCHEME)
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
            .filter(|(bucket, prefix)| !bucket.is_empty() && !prefix.is_empty())
            .ok_or_else(|| {
                Error::config(format!("the checkpoint \"{url}\" is no s3://bucket/prefix"))
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
            Error::config(format!("the checkpoint \"{url}\" can't be reached")).because(source).advise(
                "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for another store than Amazon's, AWS_ENDPOINT_URL",
            )
        })?;
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|source| {
            Error::config(format!("the checkpoint \"{url}\" can't be used")).because(source)
        })?;
        Ok(Self { url: url.to_owned(), client, prefix, faults })
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn step(&self) -> Result<()> {
        self.faults.pass(FailPoint::CheckpointFile)
    }

    fn failed(&self, action: &str, name: &str, error: Cause) -> Error {
        let (kind, advice) = match &error {
            Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => {
                (ErrorKind::Config, "grant s3:GetObject, PutObject, DeleteObject and ListBucket")
            }
            Cause::NotFound { .. } => (ErrorKind::Config, "create the bucket, or correct --checkpoint"),
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
        Error::new(kind, format!("could not {action} \"{}/{name}\"", self.url)).because(error).advise(advice)
    }
}

/// Whether the store has understood the request and does not want it; object_store says so in words only.
fn is_refusal(error: &Cause) -> bool {
    let text = error.to_string();
    let status = text.split("status code: ").nth(1).unwrap_or_default();
    let passes = ["408", "429"].iter().any(|code| status.starts_with(code));
    (status.starts_with('4') && !passes) || text.contains("Received redirect")
}

#[async_trait]
impl Store for Bucket {
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.step()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.client.put_opts(&self.path(name), bytes.to_vec().into(), options).await {
            Ok(_) => Ok(()),
            Err(error @ (Cause::AlreadyExists { .. } | Cause::Precondition { .. })) => {
                // An answer that was lost on its way, then repeated: the object is our own.
                match self.read(name).await? {
                    Some(stored) if stored == bytes => Ok(()),
                    Some(_) => Err(self.failed("publish", name, error)),
                    // A put of the same name is still under way, perhaps our own.
                    None => Err(Error::unavailable(format!("could not publish \"{}/{name}\" yet", self.url))
                        .because(error)),
                }
            }
            Err(error) => Err(self.failed("publish", name, error)),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.step()?;
        let fail = |error| self.failed("read", name, error);
        match self.client.get(&self.path(name)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(fail),
            // A bucket that is not there is another thing than an object that is not there.
            Err(Cause::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.step()?;
        let found = self.client.list_with_delimiter(Some(&self.path(folder))).await;
        let found = found.map_err(|error| self.failed("list", folder, error))?;
        let files = found.objects.iter().filter_map(|object| object.location.filename());
        let folders = found.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        let mut names: Vec<String> = files.chain(folders).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.step()?;
        match self.client.delete(&self.path(name)).await {
            Ok(()) | Err(Cause::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }
}

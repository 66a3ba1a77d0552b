//! An S3 server in this process, on a port of the loopback: [`S3Server`].
//!
//! It is `s3s-fs`, which keeps objects as files. That checks the condition of a put and then renames, without a lock, so two swaps could both succeed:
//! requests for heads are served one by one here, as a real store serves them.
//!
//! With `RINGPOOL_S3_BUCKET` in the environment there is no server: the tests use that bucket of a real store, which the variables `AWS_...` say, under
//! a prefix of their own (`cluster.sh`).

use std::sync::Arc;

use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

const BUCKET: &str = "pages";
const KEY: &str = "a-key";
const SECRET: &str = "a-secret-of-this-test";

pub struct S3Server {
    /// `None` for a real store.
    server: Option<(u16, tempfile::TempDir)>,
    prefix: String,
}

impl S3Server {
    pub async fn start() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let prefix = format!("ringpool-test-{}-{}", std::process::id(), now.as_nanos());
        if std::env::var_os("RINGPOOL_S3_BUCKET").is_some() {
            return Self { server: None, prefix };
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let heads = Arc::new(Mutex::new(()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // An answer's head and body are two writes: the second must not wait 40 ms for the client's ACK of the first.
                socket.set_nodelay(true).unwrap();
                let (service, heads) = (service.clone(), Arc::clone(&heads));
                let one_by_one = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (service, heads) = (service.clone(), Arc::clone(&heads));
                    // A task of its own: it has its turn until it ends, also where the client is gone before.
                    let answer = tokio::spawn(async move {
                        let is_head = request.uri().path().ends_with("/head");
                        let _turn = if is_head { Some(heads.lock().await) } else { None };
                        Service::call(&service, request).await
                    });
                    async move { answer.await.unwrap() }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), one_by_one));
            }
        });
        Self { server: Some((port, folder)), prefix }
    }

    /// Returns where the store is, for [`client_at`] in another process.
    pub fn address(&self) -> String {
        let port = self.server.as_ref().map_or(0, |(port, _)| *port);
        format!("{port}/{}", self.prefix)
    }

    /// Returns a client with connections of its own.
    pub fn client(&self) -> Arc<dyn ObjectStore> {
        client_at(&self.address())
    }
}

/// Returns a client of the store at this address: a port of the loopback (0 for a real store) and a prefix.
pub fn client_at(address: &str) -> Arc<dyn ObjectStore> {
    let (port, prefix) = address.split_once('/').unwrap();
    let builder = match port {
        "0" => AmazonS3Builder::from_env().with_bucket_name(std::env::var("RINGPOOL_S3_BUCKET").unwrap()),
        port => AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET),
    };
    Arc::new(PrefixStore::new(builder.build().unwrap(), prefix))
}

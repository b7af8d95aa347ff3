//! The reference server: gives out what is served to any number of balancers, and knows how each does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::SinkExt;
use futures::channel::mpsc as stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::MOST_MESSAGE_BYTES;
use super::io::{Io, PeerInfo, ServerFiles, is_for};
use super::peer::{Peer, Served};
use super::proto::follow_request::Message;
use super::proto::service_feed_server::{ServiceFeed, ServiceFeedServer};
use super::proto::{DESCRIPTORS, FollowRequest, Hello, Progress, ServiceProgress, Update};
use crate::source::moment::now_unix_ms;

/// Balancers at once.
const MOST_PEERS: usize = 4_096;
/// A handshake or a first message that takes longer is none.
const GREET_WITHIN: Duration = Duration::from_secs(10);
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Bytes of a node's name.
const MOST_NODE_BYTES: usize = 253;

/// What has happened with a balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is there.
    Connected,
    /// It has taken an update, all of it.
    Took,
    /// It has refused an update or some services of it.
    Refused,
    /// It told of its backends.
    Progress,
    /// It is gone.
    Gone,
}

/// One balancer as it is seen here.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct PeerView {
    /// What it calls itself; with client certificates, what those say.
    pub node: String,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Its program's.
    pub version: String,
    /// When it connected.
    pub connected_unix_ms: u64,
    /// What it has.
    pub revision: u64,
    /// What there is.
    pub served_revision: u64,
    /// Since when it lacks something; none: it has all.
    pub behind_unix_ms: Option<u64>,
    /// Services it refused, a line for each problem.
    pub refused: BTreeMap<String, Vec<String>>,
    /// Why it took nothing of the last update.
    pub refused_update: Option<String>,
    /// What its operator has to confirm.
    pub held: Option<String>,
    /// What it tells of its backends, by service.
    pub services: BTreeMap<String, ServiceProgress>,
}

/// Told of what happens with a balancer.
type Tell = Box<dyn Fn(Event, &PeerView) + Send + Sync>;

/// Who is connected.
pub struct Board {
    peers: Mutex<(u64, BTreeMap<u64, PeerView>)>,
    tell: Tell,
}

impl Board {
    /// Nobody yet.
    pub fn new(tell: Tell) -> Board {
        Board { peers: Mutex::default(), tell }
    }

    /// All of them, in the order in which they came.
    pub fn peers(&self) -> Vec<PeerView> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.1.values().cloned().collect()
    }

    fn join(&self, view: PeerView) -> Option<u64> {
        let id = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            if peers.1.len() >= MOST_PEERS {
                return None;
            }
            peers.0 += 1;
            let id = peers.0;
            peers.1.insert(id, view.clone());
            id
        };
        (self.tell)(Event::Connected, &view);
        Some(id)
    }

    fn change(&self, id: u64, event: Option<Event>, change: impl FnOnce(&mut PeerView)) {
        let view = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(view) = peers.1.get_mut(&id) else { return };
            change(view);
            event.map(|event| (event, view.clone()))
        };
        if let Some((event, view)) = view {
            (self.tell)(event, &view);
        }
    }

    fn leave(&self, id: u64) {
        let left = self.peers.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        if let Some(view) = left {
            (self.tell)(Event::Gone, &view);
        }
    }
}

/// What a server is made of.
pub struct Serve {
    /// Where balancers connect to.
    pub listener: TcpListener,
    /// Certificates; read again for each connection.
    pub files: ServerFiles,
    /// The token that a balancer has to have; read again for each stream.
    pub token_file: Option<PathBuf>,
    /// What is given out.
    pub served: watch::Receiver<Arc<Served>>,
    /// Who is connected.
    pub board: Arc<Board>,
}

/// Serves until the future is dropped, with `grpc.health.v1` and reflection.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve(serve: Serve) -> io::Result<()> {
    let Serve { listener, files, token_file, served, board } = serve;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ServiceFeedServer<Feed>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let feed = ServiceFeedServer::new(Feed { token_file, served, board })
        .max_decoding_message_size(MOST_MESSAGE_BYTES);
    let (connections, incoming) = stream::channel(16);
    let accepting = tokio::spawn(accept(listener, files, connections));
    let served = Server::builder()
        .http2_keepalive_interval(Some(ALIVE_EVERY))
        .http2_keepalive_timeout(Some(ALIVE_EVERY))
        .add_service(feed)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming(incoming)
        .await;
    accepting.abort();
    served.map_err(io::Error::other)
}

/// Connections that are through with their handshake; whoever takes long over it delays nobody else.
async fn accept(
    listener: TcpListener,
    files: ServerFiles,
    connections: stream::Sender<io::Result<Io>>,
) {
    let greet = |tcp: TcpStream, from: SocketAddr| {
        let (files, mut connections) = (files.clone(), connections.clone());
        tokio::spawn(async move {
            match timeout(GREET_WITHIN, files.accept(tcp)).await {
                Ok(Ok(io)) => _ = connections.send(Ok(io)).await,
                Ok(Err(error)) => tracing::warn!(%from, %error, "a connection is refused"),
                Err(_) => tracing::warn!(%from, "a connection without a handshake is closed"),
            }
        })
    };
    loop {
        match listener.accept().await {
            Ok((tcp, from)) => _ = greet(tcp, from),
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[derive(Clone)]
struct Feed {
    token_file: Option<PathBuf>,
    served: watch::Receiver<Arc<Served>>,
    board: Arc<Board>,
}

type Updates = stream::Sender<Result<Update, Status>>;

#[tonic::async_trait]
impl ServiceFeed for Feed {
    type FollowStream = stream::Receiver<Result<Update, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        self.check_token(&request)?;
        let info = request.extensions().get::<PeerInfo>().cloned();
        let (mut updates, sent) = stream::channel(1);
        let feed = self.clone();
        tokio::spawn(async move {
            if let Err(status) = feed.talk(info, request.into_inner(), &mut updates).await {
                let _ = updates.send(Err(status)).await;
            }
        });
        Ok(Response::new(sent))
    }
}

impl Feed {
    fn check_token<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(file) = &self.token_file else { return Ok(()) };
        let wanted = std::fs::read_to_string(file);
        let wanted = wanted.map_err(|_| Status::internal("the server cannot read its token"))?;
        let wanted = format!("Bearer {}", wanted.trim());
        let given = request.metadata().get("authorization").map(|value| value.as_bytes());
        match given.is_some_and(|given| is_equal(given, wanted.as_bytes())) {
            true => Ok(()),
            false => Err(Status::unauthenticated("wanted: the token of this feed")),
        }
    }

    async fn talk(
        self,
        info: Option<PeerInfo>,
        mut requests: Streaming<FollowRequest>,
        updates: &mut Updates,
    ) -> Result<(), Status> {
        let hello = timeout(GREET_WITHIN, requests.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("no hello"))??;
        let Some(FollowRequest { message: Some(Message::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("the first message has to be a hello"));
        };
        check_node(&hello, info.as_ref())?;
        let view = view_of(&hello, info.as_ref(), self.served.borrow().revision);
        let id = self.board.join(view);
        let id = id.ok_or_else(|| Status::resource_exhausted("too many balancers"))?;
        let ended = self.exchange(id, &hello, &mut requests, updates).await;
        self.board.leave(id);
        ended
    }

    async fn exchange(
        &self,
        id: u64,
        hello: &Hello,
        requests: &mut Streaming<FollowRequest>,
        updates: &mut Updates,
    ) -> Result<(), Status> {
        let mut peer = Peer::new(hello);
        let mut served = self.served.clone();
        loop {
            let now = served.borrow_and_update().clone();
            let revision = now.revision;
            if let Some(update) = peer.next(&now) {
                drop(now);
                if updates.send(Ok(update)).await.is_err() {
                    return Ok(());
                }
            }
            let is_behind = peer.is_waited_for() || peer.revision != revision;
            self.board.change(id, None, |view| {
                view.served_revision = revision;
                let since = view.behind_unix_ms.unwrap_or_else(now_unix_ms);
                view.behind_unix_ms = is_behind.then_some(since);
            });
            tokio::select! {
                changed = served.changed() => if changed.is_err() { return Ok(()) },
                message = requests.message() => match message? {
                    None => return Ok(()),
                    Some(message) => self.hear(id, &mut peer, message)?,
                },
            }
        }
    }

    fn hear(&self, id: u64, peer: &mut Peer, message: FollowRequest) -> Result<(), Status> {
        match message.message {
            Some(Message::Answer(answer)) => {
                if !peer.answered(&answer) {
                    return Err(Status::invalid_argument("an answer to nothing that was sent"));
                }
                let is_good = answer.refused.is_empty() && answer.errors.is_empty();
                let event = if is_good { Event::Took } else { Event::Refused };
                self.board.change(id, Some(event), |view| {
                    view.revision = answer.revision;
                    view.refused.clone_from(&peer.refused);
                    view.refused_update.clone_from(&peer.refused_update);
                    view.held.clone_from(&peer.held);
                });
                Ok(())
            }
            Some(Message::Progress(Progress { services })) => {
                let served = self.served.borrow().clone();
                let is_known =
                    |service: &ServiceProgress| served.resources.contains_key(&service.name);
                self.board.change(id, Some(Event::Progress), |view| {
                    view.services.retain(|name, _| served.resources.contains_key(name));
                    let told = services.into_iter().filter(is_known);
                    view.services.extend(told.map(|service| (service.name.clone(), service)));
                });
                Ok(())
            }
            Some(Message::Hello(_)) => Err(Status::invalid_argument("one hello is enough")),
            // Of a newer balancer.
            None => Ok(()),
        }
    }
}

/// The certificate says who it is.
fn check_node(hello: &Hello, info: Option<&PeerInfo>) -> Result<(), Status> {
    let node = &hello.node;
    if node.is_empty() || node.len() > MOST_NODE_BYTES || node.chars().any(char::is_control) {
        return Err(Status::invalid_argument("wanted: the name of a node"));
    }
    let certificate = info.and_then(|info| info.certificate.as_ref());
    match certificate.is_none_or(|certificate| is_for(certificate, node)) {
        true => Ok(()),
        false => Err(Status::permission_denied(format!("the certificate is none of {node}"))),
    }
}

fn view_of(hello: &Hello, info: Option<&PeerInfo>, served_revision: u64) -> PeerView {
    PeerView {
        node: hello.node.clone(),
        address: info.and_then(|info| info.address),
        version: hello.version.chars().take(64).collect(),
        connected_unix_ms: now_unix_ms(),
        revision: hello.revision,
        served_revision,
        behind_unix_ms: Some(now_unix_ms()),
        refused: BTreeMap::new(),
        refused_update: None,
        held: None,
        services: BTreeMap::new(),
    }
}

/// Takes as long whatever is given, so that nobody finds the token byte by byte.
fn is_equal(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

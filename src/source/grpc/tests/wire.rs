//! A real client and servers, good and bad, over TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::super::peer::Served;
use super::super::session::Session;
use super::super::{
    Board, FeedState, Follower, Serve, ServerFiles, follow, plain_is_allowed, serve,
};
use super::served;
use crate::control::{Delivery, FeedSpec};
use crate::source::ask::{Ask, Took};

const SOON: Duration = Duration::from_secs(20);

fn follower(address: SocketAddr, token_file: Option<&str>) -> (Follower, mpsc::Receiver<Ask>) {
    let (asks, asked) = mpsc::channel(1);
    let spec = FeedSpec {
        name: "main".to_string(),
        url: format!("http://{address}"),
        node: None,
        ca_file: None,
        cert_files: None,
        token_file: token_file.map(Into::into),
    };
    let follower = Follower {
        number: 0,
        spec,
        node: "lb1".to_string(),
        asks,
        state: Arc::default(),
        progress: Arc::new(Vec::new),
        keep: Arc::new(|_| ()),
    };
    (follower, asked)
}

async fn next(asked: &mut mpsc::Receiver<Ask>) -> Vec<String> {
    let ask = timeout(SOON, asked.recv()).await.unwrap().unwrap();
    let Some(Delivery::Some(forms, removed)) = ask.deliveries.into_iter().next() else {
        panic!("not what a feed delivers");
    };
    let mut names: Vec<String> = forms.into_iter().map(|form| form.spec.name.clone()).collect();
    names.extend(removed.into_iter().map(|name| format!("-{name}")));
    ask.answer.send(Ok(Took::default())).unwrap();
    names
}

fn state(state: &Arc<Mutex<FeedState>>) -> FeedState {
    state.lock().unwrap().clone()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(SOON, wait).await.is_ok(), "{what}");
}

async fn server(
    token_file: Option<&str>,
    first: Served,
) -> (SocketAddr, watch::Sender<Arc<Served>>, Arc<Board>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, served) = watch::channel(Arc::new(first));
    let board = Arc::new(Board::new(Box::new(|_, _| ())));
    let files = ServerFiles::default();
    let token_file = token_file.map(Into::into);
    let parts = Serve { listener, files, token_file, served, board: board.clone() };
    tokio::spawn(serve(parts));
    (address, sender, board)
}

#[tokio::test]
async fn followed_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let token = token.to_str();
    let (address, sender, board) = server(token, served(1, &[("a", "1"), ("b", "2")])).await;
    let (follower, mut asked) = follower(address, token);
    let seen = follower.state.clone();
    let task = tokio::spawn(follow(follower, Session::new(100)));
    assert_eq!(next(&mut asked).await, ["a", "b"]);
    sender.send_replace(Arc::new(served(2, &[("b", "3")])));
    assert_eq!(next(&mut asked).await, ["b", "-a"]);
    until("the server knows", || {
        let peers = board.peers();
        peers.len() == 1 && (peers[0].revision, peers[0].behind_unix_ms) == (2, None)
    })
    .await;
    assert_eq!(board.peers()[0].node, "lb1");
    let now = state(&seen);
    assert_eq!((now.revision, now.services, now.problem), (2, 1, None));
    task.abort();
    until("it is gone", || board.peers().is_empty()).await;
    // Without the token nothing is told.
    let (stranger, _asked) = self::follower(address, None);
    let seen = stranger.state.clone();
    tokio::spawn(follow(stranger, Session::new(100)));
    let is_refused = |now: FeedState| now.problem.is_some_and(|why| why.contains("token"));
    until("it is refused", || is_refused(state(&seen))).await;
}

#[tokio::test]
async fn garbage_silence_and_nobody_do_no_harm() {
    for (description, bytes) in [("garbage", &b"\xff\xfe\0garbage"[..]), ("silence", b"")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bad = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(bytes).await.unwrap();
            tokio::time::sleep(Duration::from_secs(if bytes.is_empty() { 60 } else { 0 })).await;
        });
        let (follower, mut asked) = follower(address, None);
        let seen = follower.state.clone();
        let task = tokio::spawn(follow(follower, Session::new(100)));
        until(description, || state(&seen).problem.is_some()).await;
        assert_eq!(state(&seen).connected_unix_ms, None, "{description}");
        assert!(asked.try_recv().is_err(), "{description}");
        bad.abort();
        task.abort();
    }
}

#[tokio::test]
async fn health_and_reflection_are_answered() {
    let (address, _sender, _) = server(None, served(1, &[])).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let service = "guideway.v1.ServiceFeed".to_string();
    let request = HealthCheckRequest { service: service.clone() };
    let answer = HealthClient::new(channel.clone()).check(request).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let requests = futures::stream::iter([request]);
    let answers = reflection.server_reflection_info(requests).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|one| one.name == service), "{list:?}");
}

#[test]
fn where_plain_text_is_allowed() {
    let rows = [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false)];
    for (listen, wanted) in rows {
        let listen = listen.parse().unwrap();
        assert_eq!(plain_is_allowed(listen, false), wanted, "{listen}");
        assert!(plain_is_allowed(listen, true), "{listen}");
    }
}

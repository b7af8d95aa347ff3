//! Follows a feed for ever: connects, reads, delivers, answers; on any trouble again, later.
//!
//! Whatever a feed does, the worst is that nothing new comes from it: one message is read at a time,
//! messages are bounded, and what is taken of a flood in a second is, too.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::SinkExt;
use futures::channel::mpsc as stream;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::MOST_MESSAGE_BYTES;
use super::io::connect;
use super::progress::Sent;
use super::proto::service_feed_client::ServiceFeedClient;
use super::proto::{FollowRequest, KeptState, ServiceProgress, Update};
use super::session::Session;
use crate::control::FeedSpec;
use crate::source::ask::Ask;
use crate::source::moment::now_unix_ms;

/// First wait after a connection is lost; doubled each time up to the longest, less up to a half by
/// chance.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Silence after which the other end is asked whether it is there, and the time that it has.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Updates a second that are taken of a feed that sends without end, and how many at once.
const UPDATES_A_SECOND: u32 = 50;
const UPDATES_AT_ONCE: u32 = 100;
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Changes of this time are kept on disk together.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// How a feed is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FeedState {
    /// Since when there is a connection.
    pub connected_unix_ms: Option<u64>,
    /// When the last update was taken; after a start, when the kept state was.
    pub taken_unix_ms: Option<u64>,
    /// Of what was taken.
    pub revision: u64,
    /// Good services of it.
    pub services: usize,
    /// Why there is no connection, or what is wrong with the last update.
    pub problem: Option<String>,
}

/// What a feed is followed with.
pub struct Follower {
    /// Place of the feed in the configuration.
    pub number: usize,
    /// How it is reached.
    pub spec: FeedSpec,
    /// Our own name.
    pub node: String,
    /// Where deliveries go.
    pub asks: mpsc::Sender<Ask>,
    /// Seen by status.
    pub state: Arc<Mutex<FeedState>>,
    /// Health and flows of all services. May take a while.
    pub progress: Arc<dyn Fn() -> Vec<ServiceProgress> + Send + Sync>,
    /// Keeps what was taken on disk. May take a while.
    pub keep: Arc<dyn Fn(KeptState) + Send + Sync>,
}

/// Follows a feed until the receiver of deliveries is gone.
pub async fn follow(follower: Follower, mut session: Session) {
    let name = follower.spec.name.clone();
    let mut wait = FIRST_WAIT;
    loop {
        let before = Instant::now();
        let ended = follower.follow_once(&mut session).await;
        if follower.asks.is_closed() {
            return;
        }
        let why = ended.err().unwrap_or_else(|| "the feed has ended the stream".to_string());
        let was_connected = follower.note(|state| {
            state.problem = Some(why.clone());
            state.connected_unix_ms.take().is_some()
        });
        if was_connected && before.elapsed() > LONGEST_WAIT {
            wait = FIRST_WAIT;
        }
        let rest = wait.mul_f64(rand::random_range(0.5..1.0));
        tracing::warn!(feed = %name, why, again_in_ms = rest.as_millis() as u64,
            "the feed is not followed, its last state stays");
        sleep(rest).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

impl Follower {
    fn note<T>(&self, change: impl FnOnce(&mut FeedState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn follow_once(&self, session: &mut Session) -> Result<(), String> {
        let opened = timeout(CONNECT_WITHIN, self.open(session)).await;
        let (mut updates, mut answers) =
            opened.map_err(|_| "no connection in 10 s".to_string())??;
        self.note(|state| {
            state.connected_unix_ms = Some(now_unix_ms());
            state.problem = None;
        });
        let feed = &self.spec.name;
        tracing::info!(%feed, revision = session.revision(), "the feed is followed");
        let ended = self.exchange(session, &mut updates, &mut answers).await;
        self.keep(session).await;
        ended
    }

    async fn open(
        &self,
        session: &Session,
    ) -> Result<(Streaming<Update>, stream::Sender<FollowRequest>), String> {
        let spec = self.spec.clone();
        // The connector sees to TLS: this is only a name.
        let endpoint = Endpoint::from_static("http://feed.invalid")
            .http2_keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(ALIVE_EVERY)
            .keep_alive_while_idle(true);
        let connector = tower::service_fn(move |_| {
            let spec = spec.clone();
            async move { connect(&spec).await.map(TokioIo::new) }
        });
        let channel: Channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))?;
        let (mut answers, requests) = stream::channel(4);
        // There is room for it: the channel is new.
        let _ = answers.try_send(session.hello(&self.node));
        let mut request = Request::new(requests);
        if let Some(token) = self.token()? {
            request.metadata_mut().insert("authorization", token);
        }
        let mut client =
            ServiceFeedClient::new(channel).max_decoding_message_size(MOST_MESSAGE_BYTES);
        let response = client.follow(request).await.map_err(|status| told(&status))?;
        Ok((response.into_inner(), answers))
    }

    fn token(&self) -> Result<Option<tonic::metadata::AsciiMetadataValue>, String> {
        let Some(file) = &self.spec.token_file else { return Ok(None) };
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
        let value = format!("Bearer {}", text.trim()).parse();
        value.map(Some).map_err(|_| format!("{shown}: no token in it"))
    }

    async fn exchange(
        &self,
        session: &mut Session,
        updates: &mut Streaming<Update>,
        answers: &mut stream::Sender<FollowRequest>,
    ) -> Result<(), String> {
        let (mut sent, mut told_at) = (Sent::default(), Instant::now());
        let (mut allowance, mut keep_at) = (Allowance::new(), None::<Instant>);
        let mut tell = TELL_EVERY;
        loop {
            let pause = keep_at.map_or(tell, |at| at.saturating_duration_since(Instant::now()));
            let update = match timeout(pause.min(tell), updates.message()).await {
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(update))) => Some(update),
                Ok(Err(status)) => return Err(told(&status)),
                Err(_) => None,
            };
            if let Some(update) = update {
                sleep(allowance.wait(Instant::now())).await;
                let (answer, is_taken) = self.take(session, update).await?;
                send(answers, answer).await?;
                if is_taken {
                    keep_at.get_or_insert(Instant::now() + KEEP_AFTER);
                }
            }
            if keep_at.is_some_and(|at| at <= Instant::now()) {
                keep_at = None;
                self.keep(session).await;
            }
            if told_at.elapsed() >= tell {
                told_at = Instant::now();
                if let Some(progress) = sent.changes(self.progress_of(session).await) {
                    send(answers, progress).await?;
                }
                // Of very many services it takes its time: not all of ours.
                tell = TELL_EVERY.max(told_at.elapsed() * 20);
                told_at = Instant::now();
            }
        }
    }

    /// Takes an update. Gives the answer, and whether what is to be kept is another.
    async fn take(
        &self,
        session: &mut Session,
        update: Update,
    ) -> Result<(FollowRequest, bool), String> {
        let feed = &self.spec.name;
        let change = match session.read(update) {
            Ok(change) => change,
            Err(answer) => {
                tracing::error!(%feed, ?answer, "an update of the feed is refused");
                let problem = "the last update was refused: see the log".to_string();
                self.note(|state| state.problem = Some(problem));
                return Ok((answer, false));
            }
        };
        let (deliveries, names) = (change.deliveries(), change.names());
        let took = Ask::deliver(&self.asks, self.number, deliveries, names).await;
        let took = took.ok_or_else(|| "Guideway is stopping".to_string())?;
        let is_taken = took.as_ref().is_ok_and(|took| took.held.is_none());
        let problem = took.as_ref().err().cloned();
        let answer = session.took(change, took);
        self.note(|state| {
            state.problem = problem;
            state.revision = session.revision();
            state.services = session.len();
            state.taken_unix_ms = Some(now_unix_ms());
        });
        Ok((answer, is_taken))
    }

    async fn progress_of(&self, session: &Session) -> Vec<ServiceProgress> {
        let progress = self.progress.clone();
        let all = tokio::task::spawn_blocking(move || progress()).await.unwrap_or_default();
        all.into_iter().filter(|service| session.knows(&service.name)).collect()
    }

    async fn keep(&self, session: &Session) {
        let taken = self.note(|state| state.taken_unix_ms);
        let Some(taken) = taken else { return };
        let (keep, kept) = (self.keep.clone(), session.to_keep(&self.spec.url, taken));
        // It tells of trouble itself.
        let _ = tokio::task::spawn_blocking(move || keep(kept)).await;
    }
}

async fn send(
    answers: &mut stream::Sender<FollowRequest>,
    message: FollowRequest,
) -> Result<(), String> {
    answers.send(message).await.map_err(|_| "the feed has ended the stream".to_string())
}

/// So many updates a second.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Allowance {
        Allowance { left: UPDATES_AT_ONCE.into(), at: Instant::now() }
    }

    /// Takes one; gives how long it has to wait.
    fn wait(&mut self, now: Instant) -> Duration {
        let came = (now - self.at).as_secs_f64() * f64::from(UPDATES_A_SECOND);
        self.left = (self.left + came).min(UPDATES_AT_ONCE.into()) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.left / f64::from(UPDATES_A_SECOND)).max(0.0))
    }
}

fn told(status: &Status) -> String {
    let text = status.message().chars().filter(|c| !c.is_control());
    let text: String = text.take(300).collect();
    format!("{:?}: {text}", status.code())
}

/// An error with its causes.
fn chain(error: &tonic::transport::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_taken_slowly() {
        let mut allowance = Allowance::new();
        let now = allowance.at;
        assert!((0..100).all(|_| allowance.wait(now).is_zero()));
        let waits: Vec<u64> = (0..3).map(|_| allowance.wait(now).as_millis() as u64).collect();
        assert_eq!(waits, [20, 40, 60]);
        assert!(allowance.wait(now + Duration::from_secs(1)).is_zero());
    }
}

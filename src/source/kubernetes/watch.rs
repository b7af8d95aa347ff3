//! Watches the API for ever, one stream for each kind of object: streaming lists where the server can,
//! else lists by pages; bookmarks; after a loss again, later and later.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::api::{self, AddressClaim, AddressPool};
use super::client::{chain, code, told};
use super::crds::claimed;
use super::read::{key, node, service, slice};
use super::world::{Change, Kind};

/// First wait after a loss, doubled up to the longest, less up to a half by chance.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often it is asked whether a kind of object is there by now.
const ABSENT_EVERY: Duration = Duration::from_secs(10);

/// What a watch tells.
#[derive(Debug)]
pub enum News {
    /// An object.
    Change(Box<Change>),
    /// All objects of the kind are going to be told.
    Begin(Kind),
    /// What is in the way; none: nothing any more.
    Trouble(Kind, Option<String>),
}

/// Watches all kinds; gives nothing back until all have ended, which is never.
pub fn watch_all(client: &Client, news: &mpsc::Sender<News>, tasks: &mut JoinSet<()>) {
    let (client, to) = (client.clone(), news.clone());
    let watch = Watch { kind: Kind::Service, news: to.clone(), is_optional: false };
    tasks.spawn(watch.run(Api::all(client.clone()), |object: &api::Service, is_there| {
        Some(Change::Service(key(object), is_there.then(|| service(object))))
    }));
    let watch = Watch { kind: Kind::Slice, news: to.clone(), is_optional: false };
    tasks.spawn(watch.run(Api::all(client.clone()), |object: &api::EndpointSlice, is_there| {
        Some(Change::Slice(key(object), slice(object).filter(|_| is_there)))
    }));
    let watch = Watch { kind: Kind::Node, news: to.clone(), is_optional: false };
    tasks.spawn(watch.run(Api::all(client.clone()), |object: &api::Node, is_there| {
        Some(Change::Node(key(object).name, is_there.then(|| node(object))))
    }));
    let watch = Watch { kind: Kind::Pool, news: to.clone(), is_optional: true };
    tasks.spawn(watch.run(Api::all(client.clone()), |object: &AddressPool, is_there| {
        let name = key(object).name;
        let pool = object.spec.pool(&name);
        let told = object.status.clone().filter(|_| is_there);
        [Change::PoolTold(name.clone(), told), Change::Pool(name, is_there.then_some(pool))]
    }));
    let watch = Watch { kind: Kind::Claim, news: to, is_optional: false };
    tasks.spawn(watch.run(Api::all(client), |object: &AddressClaim, is_there| {
        let address = claimed(&key(object).name)?;
        Some(Change::Claim(
            address,
            is_there.then(|| object.claim().map(|found| found.1)).flatten(),
        ))
    }));
}

/// One kind of object.
struct Watch {
    kind: Kind,
    news: mpsc::Sender<News>,
    /// Where the API does not know the kind, there are no objects of it.
    is_optional: bool,
}

impl Watch {
    async fn run<K, C>(self, api: Api<K>, read: fn(&K, bool) -> C)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        C: IntoIterator<Item = Change, IntoIter: Send> + Send + 'static,
    {
        let (mut streams, mut wait) = (true, FIRST_WAIT);
        loop {
            let config = watcher::Config::default();
            let config = if streams { config.streaming_lists() } else { config };
            let ended = self.follow(api.clone(), config, read).await;
            let Some((error, had_all)) = ended else { return };
            if had_all {
                wait = FIRST_WAIT;
            }
            if is_absent(&error) {
                if !self.tell_absent().await {
                    return;
                }
                sleep(ABSENT_EVERY).await;
                continue;
            }
            // A server that knows no streaming lists says so inside of the stream.
            if streams && !had_all && !is_lost(&error) {
                streams = false;
                continue;
            }
            let trouble = News::Trouble(self.kind, Some(words(&error)));
            if self.news.send(trouble).await.is_err() {
                return;
            }
            sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            // The next server may be another one.
            streams = true;
        }
    }

    /// Until the first error; none: nobody listens any more. Had all been listed?
    async fn follow<K, C>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        read: fn(&K, bool) -> C,
    ) -> Option<(watcher::Error, bool)>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        C: IntoIterator<Item = Change, IntoIter: Send> + Send + 'static,
    {
        let mut events = std::pin::pin!(watcher(api, config));
        let (mut names, mut had_all) = (BTreeSet::new(), false);
        while let Some(event) = events.next().await {
            let (object, is_there, is_listed) = match event {
                Err(error) if had_all && is_gone(&error) => continue,
                Err(error) => return Some((error, had_all)),
                Ok(Event::Init) => {
                    names.clear();
                    self.news.send(News::Begin(self.kind)).await.ok()?;
                    continue;
                }
                Ok(Event::InitDone) => {
                    had_all = true;
                    self.news.send(News::Trouble(self.kind, None)).await.ok()?;
                    let listed = Change::Listed(self.kind, std::mem::take(&mut names));
                    self.news.send(News::Change(Box::new(listed))).await.ok()?;
                    continue;
                }
                Ok(Event::InitApply(object)) => (object, true, true),
                Ok(Event::Apply(object)) => (object, true, false),
                Ok(Event::Delete(object)) => (object, false, false),
            };
            for change in read(&object, is_there) {
                if is_listed {
                    names.insert(change.name());
                }
                self.news.send(News::Change(Box::new(change))).await.ok()?;
            }
        }
        None
    }

    /// Does anybody listen?
    async fn tell_absent(&self) -> bool {
        let trouble = (!self.is_optional).then(|| {
            "the cluster does not know AddressClaims: `guideway kubernetes crds | kubectl apply -f -`"
                .to_string()
        });
        let none = Change::Listed(self.kind, BTreeSet::new());
        if self.news.send(News::Trouble(self.kind, trouble)).await.is_err() {
            return false;
        }
        !self.is_optional || self.news.send(News::Change(Box::new(none))).await.is_ok()
    }
}

fn of_api(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(code(error)).filter(|code| *code != 0),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}

/// The API does not know the kind.
fn is_absent(error: &watcher::Error) -> bool {
    of_api(error) == Some(404)
}

/// Its place in the stream is too old: the watcher lists anew by itself.
fn is_gone(error: &watcher::Error) -> bool {
    of_api(error) == Some(410)
}

/// There was no answer, or one that has nothing to do with how it was asked.
fn is_lost(error: &watcher::Error) -> bool {
    of_api(error).is_none_or(|code| matches!(code, 401 | 403 | 429) || code >= 500)
        && !matches!(error, watcher::Error::WatchError(_))
}

fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => told(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other => chain(other),
    }
}

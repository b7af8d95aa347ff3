//! Events on Services. They are a comfort: no write waits for one, and where too many wait, more are left out.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::client::told;
use super::objects::Key;
use super::plan::Told;

/// Events that may wait, which is enough for the first sight of a large cluster.
const MOST_WAITING: usize = 8192;
/// Longer words are cut off, as the API takes no more than 1,024 bytes.
const LONGEST: usize = 1000;

/// Where events go. A task publishes them one after the other, until the last of these is gone.
#[derive(Clone)]
pub struct Events {
    waiting: mpsc::Sender<(Event, ObjectReference)>,
}

impl Events {
    /// As an instance of ours.
    pub fn start(client: Client, instance: &str) -> Events {
        let reporter =
            Reporter { controller: "guideway".to_string(), instance: Some(instance.to_string()) };
        let recorder = Recorder::new(client, reporter);
        let (waiting, mut next) = mpsc::channel::<(Event, ObjectReference)>(MOST_WAITING);
        tokio::spawn(async move {
            while let Some((event, object)) = next.recv().await {
                if let Err(error) = recorder.publish(&event, &object).await {
                    let (service, error) = (object.name.unwrap_or_default(), told(&error));
                    tracing::debug!(service, error, "an event was not taken");
                }
            }
        });
        Events { waiting }
    }

    /// Tells something of a service.
    pub fn tell(&self, key: &Key, uid: &str, told: Told) {
        let event = Event {
            type_: if told.is_good { EventType::Normal } else { EventType::Warning },
            reason: told.reason.to_string(),
            note: Some(told.message.chars().take(LONGEST).collect()),
            action: "Balance".to_string(),
            secondary: None,
        };
        let object = ObjectReference {
            api_version: Some("v1".to_string()),
            kind: Some("Service".to_string()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        if self.waiting.try_send((event, object)).is_err() {
            tracing::debug!(service = %key, "an event is left out, since too many wait");
        }
    }
}

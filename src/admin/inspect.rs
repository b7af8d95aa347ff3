//! The admin API over gRPC: what `proto/guideway/admin/v1/admin.proto` promises.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::channel::mpsc;
use tonic::{Request, Response, Status};

use super::capture::{Copies, send_copies, tap_filter_of};
use super::drains::{DrainAsk, DrainDone, DrainError, DrainVerb};
use super::explain::explain;
use super::flows::{AskError, filter_of, flow_of, key_of};
use super::proto::admin_server::{Admin, AdminServer};
use super::proto::{
    BeginDrainRequest, BeginDrainResponse, CaptureRequest, CaptureResponse, EndDrainRequest,
    EndDrainResponse, EndFlowsRequest, EndFlowsResponse, ExplainRequest, ExplainResponse,
    ListDrainsRequest, ListDrainsResponse, ListFlowsRequest, ListFlowsResponse,
};
use super::server::{Answers, Peer};
use crate::dataplane::{FlowFilter, FlowWalk, TapFilter};
use crate::forwarding::{BackendId, Snapshot};

/// What a part of a walk is given to, with the number of the worker it is from.
pub type TakePart<'a> = &'a mut dyn FnMut(u8, &FlowWalk) -> ControlFlow<()>;

/// A data plane that answers questions. Its methods may block.
pub trait DataPlane: Send + Sync + 'static {
    /// The newest snapshot.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// Walks over the flows of all workers.
    ///
    /// # Errors
    /// When a worker does not answer, in words.
    fn walk_flows(&self, begin: &dyn Fn() -> FlowWalk, take: TakePart<'_>) -> Result<(), String>;
    /// Begins to copy frames.
    ///
    /// # Errors
    /// When it cannot, in words.
    fn capture(&self, filter: &TapFilter) -> Result<Box<dyn Copies>, String>;
}

/// The service.
pub(super) fn service(answers: Answers) -> AdminServer<impl Admin> {
    AdminServer::new(Inspect { data_plane: answers.data_plane.clone(), answers })
}

struct Inspect {
    data_plane: Arc<dyn DataPlane>,
    answers: Answers,
}

/// Parts of an answer that may wait for a client that reads slowly; then the walk waits too, and not
/// the workers.
const PARTS: usize = 4;

#[tonic::async_trait]
impl Admin for Inspect {
    type CaptureStream = Pin<Box<dyn Stream<Item = Result<CaptureResponse, Status>> + Send>>;
    type ListFlowsStream = Pin<Box<dyn Stream<Item = Result<ListFlowsResponse, Status>> + Send>>;

    async fn list_flows(
        &self,
        request: Request<ListFlowsRequest>,
    ) -> Result<Response<Self::ListFlowsStream>, Status> {
        let ListFlowsRequest { filter, limit } = request.into_inner();
        let snapshot = self.data_plane.snapshot();
        let filter = filter_of(&filter.unwrap_or_default(), &snapshot).map_err(refused)?;
        let (parts, answer) = mpsc::channel(PARTS);
        let data_plane = self.data_plane.clone();
        tokio::task::spawn_blocking(move || {
            list(&*data_plane, &snapshot, &filter, limit, parts);
        });
        Ok(Response::new(Box::pin(answer)))
    }

    async fn end_flows(
        &self,
        request: Request<EndFlowsRequest>,
    ) -> Result<Response<EndFlowsResponse>, Status> {
        let peer = peer_of(&request);
        if !peer.may_change() {
            return Err(Status::permission_denied("only root and guideway's own user end flows"));
        }
        let asked = request.into_inner().filter.unwrap_or_default();
        if asked == super::proto::FlowFilter::default() {
            return Err(refused(AskError(
                "which flows? Say a client, a service or a backend: all flows at once are not ended".into(),
            )));
        }
        let filter = filter_of(&asked, &self.data_plane.snapshot()).map_err(refused)?;
        let data_plane = self.data_plane.clone();
        let ended = blocking(move || {
            let mut ended = 0;
            data_plane.walk_flows(&|| FlowWalk::to_end(filter.clone()), &mut |_, walk| {
                ended += if walk.is_done() { walk.ended } else { 0 };
                ControlFlow::Continue(())
            })?;
            Ok(ended)
        })
        .await?;
        tracing::info!(
            ended,
            uid = peer.uid(),
            pid = peer.pid(),
            client = asked.client,
            service = asked.service,
            backend = asked.backend,
            "flows were ended by hand"
        );
        Ok(Response::new(EndFlowsResponse { ended }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let asked = request.into_inner();
        let key = key_of(&asked).map_err(refused)?;
        let snapshot = self.data_plane.snapshot();
        let data_plane = self.data_plane.clone();
        let named = snapshot.clone();
        let flow = blocking(move || {
            let filter = FlowFilter { key: Some(key), ..FlowFilter::default() };
            let mut found = None;
            data_plane.walk_flows(&|| FlowWalk::to_show(filter.clone()), &mut |worker, walk| {
                let Some(entry) = walk.found.first() else { return ControlFlow::Continue(()) };
                let flow = flow_of(&named, worker, entry, walk.now);
                found = Some((flow, BackendId(entry.0.backend)));
                ControlFlow::Break(())
            })?;
            Ok(found)
        })
        .await?;
        explain(&snapshot, &asked, flow).map(Response::new).map_err(refused)
    }

    async fn capture(
        &self,
        request: Request<CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        let peer = peer_of(&request);
        if !peer.may_change() {
            return Err(Status::permission_denied("only root and guideway's own user see packets"));
        }
        let asked = request.into_inner();
        let filter = tap_filter_of(&asked).map_err(refused)?;
        let data_plane = self.data_plane.clone();
        let copies = blocking(move || data_plane.capture(&filter)).await?;
        tracing::info!(uid = peer.uid(), pid = peer.pid(), ?asked, "a capture begins");
        let (parts, answer) = mpsc::channel(PARTS);
        let data_plane = self.data_plane.clone();
        tokio::task::spawn_blocking(move || {
            send_copies(&*data_plane, copies, parts);
            tracing::info!(pid = peer.pid(), "the capture is over");
        });
        Ok(Response::new(Box::pin(answer)))
    }

    async fn begin_drain(
        &self,
        request: Request<BeginDrainRequest>,
    ) -> Result<Response<BeginDrainResponse>, Status> {
        let peer = peer_of(&request);
        let BeginDrainRequest { backend, service, until_unix_ms } = request.into_inner();
        let verb = DrainVerb::Begin { until_unix_ms: Some(until_unix_ms).filter(|&ms| ms > 0) };
        let done = self.drain(peer, verb, backend, service).await?;
        let drain = done.drains.into_iter().next().map(Into::into);
        Ok(Response::new(BeginDrainResponse { drain }))
    }

    async fn end_drain(
        &self,
        request: Request<EndDrainRequest>,
    ) -> Result<Response<EndDrainResponse>, Status> {
        let peer = peer_of(&request);
        let EndDrainRequest { backend, service } = request.into_inner();
        let done = self.drain(peer, DrainVerb::End, backend, service).await?;
        let ended = done.drains.into_iter().map(Into::into).collect();
        Ok(Response::new(EndDrainResponse { ended, still_drains_in: done.still_drains_in }))
    }

    async fn list_drains(
        &self,
        _: Request<ListDrainsRequest>,
    ) -> Result<Response<ListDrainsResponse>, Status> {
        let status = self.answers.status.clone();
        let drains = blocking(move || Ok(status().drains)).await?;
        let drains = drains.into_iter().map(Into::into).collect();
        Ok(Response::new(ListDrainsResponse { drains }))
    }
}

impl Inspect {
    /// Does what is asked about a drain, for those who may, and has it in the log.
    async fn drain(
        &self,
        peer: Peer,
        verb: DrainVerb,
        backend: String,
        service: String,
    ) -> Result<DrainDone, Status> {
        if !peer.may_change() {
            let why = "only root and the user guideway runs as drain backends";
            return Err(Status::permission_denied(why));
        }
        let (uid, pid) = (peer.uid(), peer.pid());
        tracing::info!(uid, pid, ?verb, backend, service, "a drain is asked for");
        let service = Some(service).filter(|name| !name.is_empty());
        let ask = DrainAsk { verb, backend, service, uid };
        let source = self.answers.drain.clone();
        let done = blocking(move || Ok(source(ask))).await?;
        done.map_err(|error| match error {
            DrainError::Wrong(error) => refused(error),
            DrainError::Failed(text) => Status::unavailable(text),
        })
    }
}

/// Gives the flows part by part, until there is nobody to take them or the limit is reached.
fn list(
    data_plane: &dyn DataPlane,
    snapshot: &Snapshot,
    filter: &FlowFilter,
    limit: u64,
    mut parts: mpsc::Sender<Result<ListFlowsResponse, Status>>,
) {
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut give = |part| futures::executor::block_on(futures::SinkExt::send(&mut parts, part));
    let walked =
        data_plane.walk_flows(&|| FlowWalk::to_show(filter.clone()), &mut |worker, walk| {
            let is_cut_short = walk.found.len() as u64 > left;
            let shown = walk.found.iter().take(usize::try_from(left).unwrap_or(usize::MAX));
            let flows: Vec<_> =
                shown.map(|entry| flow_of(snapshot, worker, entry, walk.now)).collect();
            left -= flows.len() as u64;
            if flows.is_empty() && !is_cut_short {
                return ControlFlow::Continue(());
            }
            match give(Ok(ListFlowsResponse { flows, is_cut_short })) {
                Ok(()) if !is_cut_short => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
    if let Err(text) = walked {
        // Whoever asked may be gone.
        let _ = give(Err(Status::unavailable(text)));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Status::unavailable),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

fn peer_of<T>(request: &Request<T>) -> Peer {
    let told = request.extensions().get::<axum::extract::ConnectInfo<Peer>>();
    told.map_or(Peer(None), |told| told.0)
}

fn refused(error: AskError) -> Status {
    Status::invalid_argument(error.0)
}

/// A data plane without workers.
#[cfg(test)]
pub(crate) struct NoFlows;

#[cfg(test)]
impl DataPlane for NoFlows {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot::empty())
    }

    fn walk_flows(&self, _: &dyn Fn() -> FlowWalk, _: TakePart<'_>) -> Result<(), String> {
        Ok(())
    }

    fn capture(&self, _: &TapFilter) -> Result<Box<dyn Copies>, String> {
        Err("there is no worker".into())
    }
}

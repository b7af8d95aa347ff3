//! One desired state out of several sources, each of which owns its services.
//!
//! A [`Source`] keeps what it was delivered last and is good in itself; what is refused of a delivery
//! leaves the last good form in its place. [`merge`] puts all sources together. What two of them claim
//! at once (a name, an address and port, SNAT ports, a DNAT backend) belongs to the one that comes
//! first: by the order of sources, then the older service, then by name. Never by arrival, so that two
//! nodes with the same sources agree whatever came first to each of them. The loser alone is refused,
//! and is not served while that lasts: a form it had before has been given up by its owner, and its
//! address may be somebody else's by now.
//!
//! [`Merger`] is the same for a state that changes all the time: a change that claims nothing new is
//! put in its place without looking at the other services. Over all of it lie the [`Drains`]: backends
//! that somebody drains by hand, whoever owns them.

mod claims;
mod drains;
mod merger;
mod order;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use drains::{Drain, Drains};
pub use merger::{Merger, Outcome};
pub use source::{Delivery, Form, HeldChange, Part, Source, Unit};

use super::{DesiredState, Refusal};
use claims::Claims;
use order::{Order, What};

/// What all sources want together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merged {
    /// What is to be served: [`super::validate`] finds nothing wrong with it.
    pub desired: DesiredState,
    /// What is not, and why; in the order of sources.
    pub refused: Vec<Refused>,
    /// Changes that wait for a confirmation.
    pub held: Vec<HeldChange>,
}

/// Something of a source that is not served as its owner wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Who wants it.
    pub owner: Owner,
    /// Why not; paths name the service: `services[web].port`.
    pub refusals: Vec<Refusal>,
    /// An older form of it is served meanwhile.
    pub keeps_last_good: bool,
}

/// Where something comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// Name of the source.
    pub source: Arc<str>,
    /// The part of it, for example a file in a folder; empty where a source is one piece.
    pub part: Arc<str>,
    /// `service web`, `snat 10.1.0.10`; empty for the part as a whole.
    pub what: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { source, part, what } = self;
        match (what.is_empty(), part.is_empty()) {
            (true, true) => write!(f, "{source}"),
            (true, false) => write!(f, "{part} in {source}"),
            (false, true) => write!(f, "{what} of {source}"),
            (false, false) => write!(f, "{what} of {part} in {source}"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refusals: Vec<String> = self.refusals.iter().map(Refusal::to_string).collect();
        let kept = if self.keeps_last_good { " (its last good form stays)" } else { "" };
        write!(f, "{}{kept}: {}", self.owner, refusals.join("; "))
    }
}

/// Everything that `sources` want, in the order they are configured in. Pure; depends on what each
/// source has delivered, not on when.
pub fn merge(sources: &[Source]) -> Merged {
    let (order, excluded) = accept(sources);
    let (desired, losers) = collect(&order, excluded);
    let mut merged = Merged { desired, ..Merged::default() };
    merged.tell(sources, losers);
    merged
}

impl Merged {
    fn tell(&mut self, sources: &[Source], losers: Vec<Refused>) {
        self.refused = sources.iter().flat_map(Source::refused).chain(losers).collect();
        self.held = sources.iter().filter_map(Source::held).collect();
    }
}

/// Who is out, and why: by place in the order.
type Excluded = Vec<Option<Refusal>>;

/// Decides about each thing that is wanted, the first first.
fn accept(sources: &[Source]) -> (Order<'_>, Excluded) {
    let order = Order::of(sources);
    let mut claims = Claims::of(&order);
    let claim = |(place, item)| claims.claim(place, item, &order).err();
    let excluded = order.items.iter().enumerate().map(claim).collect();
    drop(claims);
    (order, excluded)
}

/// What is served, and who is not.
fn collect(order: &Order<'_>, excluded: Excluded) -> (DesiredState, Vec<Refused>) {
    let (mut desired, mut losers) = (DesiredState::default(), Vec::new());
    for (item, excluded) in order.items.iter().zip(excluded) {
        if let Some(refusal) = excluded {
            let (owner, refusals) = (order.owner(item), vec![refusal]);
            losers.push(Refused { owner, refusals, keeps_last_good: false });
            continue;
        }
        match &item.what {
            What::Snat(snat) => desired.snat.push((*snat).clone()),
            What::TunnelSource(source) => desired.tunnel_sources.push(**source),
            What::Service(form) => desired.services.push(form.spec.clone()),
        }
    }
    (desired, losers)
}
